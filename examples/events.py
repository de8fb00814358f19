"""Event recordings: five objects, trained on one session and scored on another; streams; a network of others.

    python examples/events.py [--full]

A recording becomes samples of 16 frames of 20 ms. The network is trained as spiking networks on events are: each frame
by itself, logits averaged. The spiking network sees a frame at each timestep, and the ANN that it is compared with
the mean of the frames: both readings of the ANN are printed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from steps import Options, compare, data, deployed, fit, options, reported, trained
from torch import Tensor, nn

import adafire
from toolchain.recordings import Framing, read_frames

#: Frames of a sample, and microseconds of a frame.
FRAMES, WINDOW = 16, 20_000
#: Box, mug, knife, pencil, scissors: the names of the files.
OBJECTS = "Caixa,Caneca,Estilete,Lapiseira,Tesoura"


def small_network(classes: int) -> nn.Module:
    """Return three convolutions and average pools for frames (N, 2, 32, 32)."""
    layers: list[nn.Module] = []
    for c_in, c_out in ((2, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, classes))


def gesture_network() -> nn.Module:
    """Return the network of synsense/sinabs (Apache-2.0) for gestures, (N, 2, 128, 128), as published."""
    relu, pool = nn.ReLU(), nn.AvgPool2d(2)
    features = [nn.Conv2d(2, 16, 2, 2, bias=False), relu]
    for c_in, c_out in ((16, 16), (16, 32), (32, 32), (32, 64), (64, 64)):
        features += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), relu, pool]
    features += [nn.Dropout2d(), nn.Conv2d(64, 256, 2, bias=False), relu, nn.Dropout2d(), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(256, 128, bias=False), relu, nn.Linear(128, 11, bias=False))


def train(network: nn.Module, frames: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> None:
    """Train on four frames of each sample, moved and mirrored."""
    x, y = torch.from_numpy(frames), torch.from_numpy(labels)

    def loss(positions: np.ndarray) -> Tensor:
        seen = x[positions][:, torch.randperm(FRAMES)[:4]].float()
        down, right = torch.randint(-3, 4, (2,)).tolist()
        seen = torch.roll(seen, (down, right), (-2, -1))
        if torch.rand(()) < 0.5:
            seen = seen.flip(-1)
        logits = network(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]).mean(1)
        return F.cross_entropy(logits, y[positions])

    fit(network, loss, len(x), epochs, rate=4e-3, seed=seed)


def recordings(session: str, size: tuple[int, int], limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of a session (N, 16, 2, *size), one recording after the other, and their classes."""
    found, labels, _ = read_frames(data("dvs128_objects", session), Framing(FRAMES, WINDOW, size=size), limit=limit)
    return found, labels


def objects(chosen: Options) -> None:
    known, labels = recordings("set100", (32, 32))
    unseen, classes = recordings("set2", (32, 32))
    epochs = chosen.few(20, 60)
    network = trained("events", small_network(5), lambda net: train(net, known, labels, epochs, chosen.seed))
    calibration = adafire.Dataset("set100", known, is_frames=True)
    test = adafire.Dataset("set2", unseen, adafire.Truth(labels=classes), is_frames=True)
    with torch.no_grad():
        frames = torch.from_numpy(unseen[:, : chosen.timesteps]).float()
        each = torch.stack([network(frame) for frame in frames.unbind(1)]).mean(0).argmax(1).numpy()
        mean = network(frames.mean(1)).argmax(1).numpy()
    print(f"ANN, its logits for each frame averaged: {(each == classes).mean():.2%}")
    print(f"ANN, on the mean of the frames, as it is converted: {(mean == classes).mean():.2%}")
    title = f"objects: {len(test)} samples of another session"
    netlists = compare(title, network, calibration, test, chosen, shorter=(8, 4), classes=OBJECTS)
    deployed("events", netlists[0], test)
    reported("events", netlists, test, network, chosen.few(64, 256))
    stream(network, calibration, test)


def stream(network: nn.Module, calibration: adafire.Dataset, test: adafire.Dataset) -> None:
    """Take each recording as one stream of windows, with the state carried over from window to window or not."""
    netlist = adafire.convert(network, calibration, adafire.Recipe(timesteps=8, phi=4, samples=128))
    table = Table("state", "right", title="recordings as streams of windows of 8 frames")
    halves = adafire.Dataset(
        test.name,
        test.values.reshape(-1, netlist.timesteps, *test.shape),
        adafire.Truth(labels=np.repeat(test.labels, FRAMES // netlist.timesteps)),
        is_frames=True,
    )
    for keep, name in ((False, "at rest at the start of each window"), (True, "kept from window to window")):
        right = total = 0.0
        for label in np.unique(halves.labels):
            recording = halves.select(np.flatnonzero(halves.labels == label))
            right += adafire.simulate(netlist, recording, keep_state=keep).accuracy * len(recording)
            total += len(recording)
        table.add_row(name, f"{right / total:.2%}")
    Console(width=110).print(table)


def gestures(chosen: Options) -> None:
    """Run a network that others trained for events; nobody labelled these recordings, but their spikes are counted."""
    network = gesture_network()
    network.load_state_dict(load_file(data("events", "dvs_gesture_cnn.safetensors")))
    frames, classes = recordings("set2", (128, 128), limit=chosen.few(10, 40))
    calibration = adafire.Dataset("set2", frames, is_frames=True)
    netlist = adafire.convert(
        network.eval(), calibration, adafire.Recipe(timesteps=FRAMES, phi=4, samples=16, accept_collapse=True)
    )
    table = Table("recording", "events", "SOPs", "energy", title="a network for gestures, on objects: per sample")
    for label in np.unique(classes):
        recording = calibration.select(np.flatnonzero(classes == label))
        spent = adafire.energy(netlist, recording)
        events = np.asarray(recording.values[:]).sum() / len(recording)
        sops, energy = spent.sops / len(recording) / 1e6, float(spent.e_snn) / len(recording) / 1e6
        table.add_row(OBJECTS.split(",")[label], f"{events:,.0f}", f"{sops:.1f} M", f"{energy:.1f} µJ")
    Console(width=110).print(table)


def main() -> None:
    chosen = options(__doc__)
    objects(chosen)
    gestures(chosen)


if __name__ == "__main__":
    main()
