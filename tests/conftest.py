"""Fixtures that every test module may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def adafire_data() -> Path:
    """Folder with the larger networks and data sets, which are not part of the repository."""
    folder = os.environ.get("ADAFIRE_DATA")
    if not folder:
        pytest.skip("ADAFIRE_DATA is not set: this test needs the folder of larger networks and data sets")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"ADAFIRE_DATA names {folder}, which is not a folder")
    return path
