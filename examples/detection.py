"""Boxes: blood cells with a small one-stage detector, and two published ones: faces, and with --full FastestDet.

    python examples/detection.py [--full]

BCCD: red and white cells and platelets in 364 pictures, a detector trained here. FastestDet (hpc203) and version-slim
(Linzaer, MIT) come as ONNX files; of the faces nobody knows the boxes, so the SNN is held against the ANN's own. What
makes boxes of outputs runs on the host: `cells`, `objects` and `faces` below.
"""

import json
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from steps import Options, compare, data, deployed, fit, options, reported, trained
from torch import Tensor, nn

import adafire
from toolchain.doors.voc import read_voc

#: Of BCCD, in the order of the labels.
CELLS = ("RBC", "WBC", "Platelets")
#: Pixels of a picture, and of a place of the map of scores.
HEIGHT, WIDTH, STRIDE = 192, 256, 8
#: Pixels that a predicted size of 0 means.
UNIT = 32.0

TASK = "detection"

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def suppressed(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: float, least: float) -> Found:
    """Keep the best of the boxes that overlap by more than that, class by class; none below the least score."""
    kept: list[int] = []
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= least][:400]
    area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    for i in order:
        rivals = [j for j in kept if labels[j] == labels[i]]
        both = np.minimum(boxes[i, 2:], boxes[rivals, 2:]) - np.maximum(boxes[i, :2], boxes[rivals, :2])
        shared = both.clip(0).prod(1)
        if not np.any(shared > overlap * (area[i] + area[rivals] - shared)):
            kept.append(i)
    return boxes[kept], scores[kept], labels[kept]


def cells(outputs: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[Found]:
    """Decode the detector below: logits of three classes, the centre's offset in places, the logarithm of the size."""
    (values,) = outputs.values()
    rows, columns = np.mgrid[: values.shape[2], : values.shape[3]] + 0.5
    found = []
    for value in values:
        centre = np.stack([columns + value[3], rows + value[4]], -1) * STRIDE
        half = UNIT / 2 * np.exp(np.moveaxis(value[5:7], 0, -1).clip(-3, 3))
        boxes = np.concatenate([centre - half, centre + half], -1).reshape(-1, 4)
        boxes = boxes.clip(0, [shape[2], shape[1]] * 2)
        scores = 1 / (1 + np.exp(-value[:3].reshape(3, -1)))
        found.append(suppressed(boxes, scores.max(0), scores.argmax(0), 0.5, 0.05))
    return found


class Detector(nn.Module):
    """Seven numbers for each 8 x 8 pixels: three classes, a centre, a size."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (3, 16, 32, 64, 96, 96, 96), (2, 2, 2, 1, 1, 1)
        layers: list[nn.Module] = []
        for (c_in, c_out), stride in zip(pairwise(widths), strides, strict=True):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(96, 7, 1)
        nn.init.constant_(self.head.bias[:3], -3.0)  # most places hold nothing

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def targets(boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what places should say, (7, rows, columns), and which belong to a box: those about its centre."""
    rows, columns = np.mgrid[: HEIGHT // STRIDE, : WIDTH // STRIDE] + 0.5
    wanted, inside = np.zeros((7, *rows.shape), np.float32), np.zeros(rows.shape, bool)
    sizes = boxes[:, 2:] - boxes[:, :2]
    for index in np.argsort(-sizes.prod(1)):  # small ones over large ones
        (x, y), (w, h) = (boxes[index, :2] + boxes[index, 2:]) / 2 / STRIDE, sizes[index] / STRIDE
        about = (np.abs(columns - x) <= max(0.5, 0.2 * w)) & (np.abs(rows - y) <= max(0.5, 0.2 * h))
        wanted[:3, about] = 0
        wanted[labels[index], about] = 1
        wanted[3, about], wanted[4, about] = (x - columns)[about], (y - rows)[about]
        wanted[5:7, about] = np.log(sizes[index] / UNIT)[:, None]
        inside |= about
    return wanted, inside


def bccd() -> adafire.Dataset:
    """Return the pictures at 256 x 192 and their boxes: what `adafire data voc --size 192,256` writes."""
    found = read_voc(data("bccd"), classes=CELLS, size=(HEIGHT, WIDTH)).arrays
    truth = adafire.Truth(boxes=adafire.Boxes(found["boxes"], found["box_labels"], found["box_samples"]))
    return adafire.Dataset("bccd", found["images"].transpose(0, 3, 1, 2), truth)


def blood(chosen: Options) -> None:
    found = bccd()
    held_out = np.arange(len(found)) % 5 == 0
    train, test = found.select(np.flatnonzero(~held_out)), found.select(np.flatnonzero(held_out))
    x, known = torch.from_numpy(train.values), train.truth.boxes
    pairs = [targets(known.boxes[known.samples == n], known.labels[known.samples == n]) for n in range(len(train))]
    wanted, inside = (torch.from_numpy(np.stack(each)) for each in zip(*pairs, strict=True))

    def fitted(network: nn.Module) -> None:
        def loss(positions: np.ndarray) -> Tensor:
            pictures, w, m = x[positions].float() / 255, wanted[positions], inside[positions]
            if torch.rand(()) < 0.5:
                pictures, w, m = pictures.flip(-1), w.flip(-1), m.flip(-1)
                w = w * torch.tensor([1, 1, 1, -1, 1, 1, 1]).view(7, 1, 1)
            if torch.rand(()) < 0.5:
                pictures, w, m = pictures.flip(-2), w.flip(-2), m.flip(-2)
                w = w * torch.tensor([1, 1, 1, 1, -1, 1, 1]).view(7, 1, 1)
            said, m = network(pictures), m.unsqueeze(1)
            classes = F.binary_cross_entropy_with_logits(said[:, :3], w[:, :3], reduction="none")
            focus = (said[:, :3].sigmoid() - w[:, :3]).abs() ** 2
            places = F.smooth_l1_loss(said[:, 3:], w[:, 3:], reduction="none", beta=0.2) * m
            return (5 * (focus * classes).sum() + places.sum()) / m.sum()

        fit(network, loss, len(x), chosen.few(8, 30), batch=8, rate=3e-3, seed=chosen.seed)

    network = trained("bccd", Detector(), fitted)
    few = test.select(np.arange(chosen.few(8, len(test))))
    netlists = compare(
        f"blood cells: {len(few)} pictures",
        network,
        train,
        few,
        chosen,
        light=False,
        decode=cells,
        priced=4,
        samples=24,
        task=TASK,
        classes=",".join(CELLS),
    )
    deployed("bccd", netlists[0], few)
    reported("bccd", netlists, few, network, 8, cells)


#: How VOC calls what COCO's names, which FastestDet knows, have too.
ALIASES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


def objects(outputs: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[Found]:
    """Decode FastestDet: of each of 32 x 32 places whether there is something, where, how large, and what."""
    (values,) = outputs.values()
    side = int(values.shape[1] ** 0.5)
    rows, columns = np.divmod(np.arange(side * side), side)
    found = []
    for value in values:
        centre = (np.tanh(value[:, 1:3]) + np.stack([columns, rows], 1)) / side
        half = 0.5 / (1 + np.exp(-value[:, 3:5]))
        boxes = np.concatenate([centre - half, centre + half], 1).clip(0, 1) * ([shape[2], shape[1]] * 2)
        scores = value[:, 0] * value[:, 5:].max(1)
        found.append(suppressed(boxes, scores, value[:, 5:].argmax(1), 0.45, 0.01))
    return found


def voc(chosen: Options) -> None:
    folder = data("detection", "voc85")
    names = (folder / "coco.names").read_text().split("\n")
    images, boxes, labels, samples = [], [], [], []
    for n, (name, objects_in) in enumerate(json.loads((folder / "boxes.json").read_text()).items()):
        image = Image.open(folder / name).convert("RGB")
        scale = np.array([512 / image.width, 512 / image.height] * 2)
        images.append(np.asarray(image.resize((512, 512), Image.Resampling.BILINEAR))[..., ::-1])
        for what, *corners in objects_in:
            known = ALIASES.get(what, what)
            if known in names and len(corners) == 4:  # the fifth entry says that it is difficult
                boxes.append((corners - np.array([1, 1, 0, 0])) * scale)  # VOC's pixels count from 1
                labels.append(names.index(known))
                samples.append(n)
    truth = adafire.Truth(boxes=adafire.Boxes(np.array(boxes, np.float32), np.array(labels), np.array(samples)))
    found = adafire.Dataset("voc85", np.stack(images).transpose(0, 3, 1, 2), truth)
    network, few = folder / "FastestDet.onnx", found.select(np.arange(48))
    netlists = compare(
        f"FastestDet: {len(few)} pictures",
        network,
        found.select(np.arange(48, len(found))),
        few,
        chosen,
        phi=None,
        light=False,
        decode=objects,
        priced=2,
        task=TASK,
        classes=str(folder / "coco.names"),
        accept_collapse=True,
    )
    deployed("fastestdet", netlists[0], few)
    reported("fastestdet", netlists, few, network, 6, objects)


def faces(outputs: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[Found]:
    """Decode version-slim: its own last layers have made boxes in parts of the picture, and two probabilities."""
    found = []
    for boxes, scores in zip(outputs["boxes"], outputs["scores"], strict=True):
        pixels = boxes.clip(0, 1) * ([shape[2], shape[1]] * 2)
        found.append(suppressed(pixels, scores[:, 1], np.zeros(len(pixels), np.int64), 0.3, 0.1))
    return found


def portraits(chosen: Options) -> None:
    folder = data("detection", "faces")
    network, recipe = folder / "version-slim-320.onnx", {"normalize": "0.498/0.502", "task": TASK, "classes": "face"}
    images = [Image.open(path).convert("RGB").resize((320, 240)) for path in sorted(folder.glob("*.jpg"))]
    found = adafire.dataset(np.stack([np.asarray(image) for image in images]))
    rough = adafire.Recipe(calibrate="none", samples=4, accept_collapse=True, **recipe)
    said = adafire.ann_outputs(adafire.convert(network, found, rough), found, network)
    sure = [boxes[scores > 0.5] for boxes, scores, _ in faces(said, found.shape)]
    samples = np.repeat(np.arange(len(sure)), [len(boxes) for boxes in sure])
    boxes = np.concatenate(sure).astype(np.float32)
    truth = adafire.Truth(boxes=adafire.Boxes(boxes, np.zeros(len(boxes), np.int64), samples))
    judged = adafire.Dataset("faces", found.values, truth)
    few = judged.select(np.arange(chosen.few(6, 12)))
    calibration = found.select(np.arange(12, 24))
    title = f"faces, against the ANN's own boxes: {len(few)} pictures"
    netlists = compare(
        title, network, calibration, few, chosen, light=False, decode=faces, priced=2, accept_collapse=True, **recipe
    )
    deployed("faces", netlists[0], few)
    reported("faces", netlists, few, network, 6, faces)


def main() -> None:
    chosen = options(__doc__)
    blood(chosen)
    portraits(chosen)
    if chosen.full:
        voc(chosen)


if __name__ == "__main__":
    main()
