"""Fixtures that every test module may use."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import documented_shapes
import matplotlib
import numpy as np
import pytest
import random_netlists
import target_netlists
import torch
from exchange_netlists import ARCHITECTURES, NIR_ARCHITECTURES
from hypothesis import settings

from toolchain.netlist import Netlist

# Kernels for a GPU run without one in Triton's interpreter, which has to be known before they are compiled.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Before any test module takes a function by its name.
documented_shapes.install()

# Speed is measured in benchmarks: a busy machine must not fail a test.
settings.register_profile("adafire", deadline=None)
settings.load_profile("adafire")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Searches keep measurements in the user's cache folder: not those of tests, and never those of an earlier run."""
    with pytest.MonkeyPatch.context() as patch:
        # matplotlib looks there for its list of fonts, which takes seconds to make anew.
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture(scope="session")
def make_netlist() -> Callable[..., Netlist]:
    """``make_netlist(architecture, seed=0, timesteps=5, phi=4)``: a small random netlist that fires."""

    def make(architecture: str = "residual", seed: int = 0, *, timesteps: int = 5, phi: int = 4) -> Netlist:
        return random_netlists.ARCHITECTURES[architecture](seed, timesteps, phi)

    return make


@pytest.fixture(scope="session")
def make_payloads() -> Callable[..., np.ndarray]:
    """``make_payloads(netlist, samples=3, seed=0)``: random payloads over the input's whole range."""

    def make(netlist: Netlist, samples: int = 3, seed: int = 0) -> np.ndarray:
        source = netlist.input
        low, high = source.payload_range
        lead = (netlist.timesteps, samples) if source.coding == "frames" else (samples,)
        values = np.random.default_rng(seed).integers(low, high + 1, (*lead, *source.shape))
        return values.astype(source.payload_dtype)

    return make


@pytest.fixture(params=sorted(random_netlists.ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture that `make_netlist` knows, one after the other."""
    return request.param


@pytest.fixture
def make() -> Callable[..., Netlist]:
    """Make a netlist that is exported, by the name of its architecture: ``make("residual", seed=3, phi=2)``."""
    return lambda name, seed=7, phi=4: ARCHITECTURES[name](seed, phi)


@pytest.fixture(params=sorted(ARCHITECTURES))
def netlist(request: pytest.FixtureRequest) -> Netlist:
    """One netlist of each architecture that `make` knows."""
    return ARCHITECTURES[request.param](seed=7, phi=4)


@pytest.fixture(params=sorted(NIR_ARCHITECTURES))
def nir_netlist(request: pytest.FixtureRequest) -> Netlist:
    """One netlist of each architecture that NIR can express."""
    return NIR_ARCHITECTURES[request.param](seed=7, phi=4)


@pytest.fixture(scope="session")
def small_resnet() -> Netlist:
    return target_netlists.make_small_resnet()


@pytest.fixture(scope="session")
def fits_loihi1() -> Netlist:
    return target_netlists.make_fits_loihi1()


@pytest.fixture(scope="session")
def resnet20() -> Callable[..., Netlist]:
    return target_netlists.make_resnet20


@pytest.fixture(scope="session")
def vgg16() -> Callable[..., Netlist]:
    return target_netlists.make_vgg16
