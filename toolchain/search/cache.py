"""Measurements on disk, one small file each: an interrupted search loses at most the one it was on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from toolchain.files import replacing
from toolchain.network import Firing
from toolchain.search.workbench import Sensitivity


def default_folder() -> Path:
    """Return where measurements are kept unless the user says otherwise: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adafire"


@dataclass(frozen=True)
class MeasurementCache:
    """A folder of measurements, found by the content of what was measured.

    Parameters
    ----------
    folder : Path
        Made when the first measurement is stored.
    """

    folder: Path

    def _path(self, base: str, name: str, firing: Firing) -> Path:
        digest = hashlib.sha256(f"{base}:{name}:{firing.phi}:{firing.rho!r}:{firing.drift!r}:".encode())
        digest.update(np.ascontiguousarray(firing.threshold).tobytes())
        digest.update(np.ascontiguousarray(firing.initial).tobytes())
        return self.folder / base[:16] / f"{digest.hexdigest()}.json"

    def load(self, base: str, name: str, firing: Firing) -> Sensitivity | None:
        """Return a measurement, None where there is none that can be read.

        Parameters
        ----------
        base : str
            `BaseNetwork.key`.
        name : str
            The layer that is varied.
        firing : Firing
            How it fires.
        """
        try:
            stored = json.loads(self._path(base, name, firing).read_text())
            return Sensitivity(float(stored["divergence"]), float(stored["operations"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, base: str, name: str, firing: Firing, measured: Sensitivity) -> None:
        """Write a measurement, whole or not at all; `load` finds it by the same arguments."""
        path = self._path(base, name, firing)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"layer": name, "phi": firing.phi, "rho": firing.rho, **asdict(measured)}))
