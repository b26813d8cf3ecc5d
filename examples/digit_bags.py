"""Bags of digit images: is there a 9 in the bag, and which image is it?

A bag holds 5 to 60 images of handwritten digits, and is positive if one of them is a 9. Only the bag has a label. The
bags go into the layer as `hopfield.Bags`: no padding, any sizes. Hopfield pooling is compared with mean, max and gated
attention pooling (Ilse et al. 2018), and the weights are asked which image decided.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

import hopfield
from common import Data, arguments, compare, report
from hopfield import Bags, plot
from hopfield.datasets import load_images
from hopfield.nn import LearnedBeta

DIGIT = 9


def make_bags(rows: Tensor, labels: Tensor, count: int) -> tuple[Bags, Tensor]:
    """Bags of numbers of images. Half of them have one image of the digit, at a random place."""
    wanted, others = rows[labels[rows] == DIGIT], rows[labels[rows] != DIGIT]
    bags, targets = [], torch.arange(count) % 2
    for target in targets.tolist():
        bag = others[torch.randint(len(others), (int(torch.randint(5, 61, ())),))]
        if target:
            bag[torch.randint(len(bag), (1,))] = wanted[torch.randint(len(wanted), (1,))]
        bags.append(bag)
    return Bags.from_list(bags), targets


class Classifier(nn.Module):
    """Embed every image, pool the bag, classify the result."""

    def __init__(self, pooling: nn.Module, width: int, size: int = 16) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, size))
        self.pooling, self.classify = pooling, nn.Linear(size, 2)

    def forward(self, bags: Bags) -> Tensor:
        """Bags of images (8, 8) -> (B, 2)."""
        return self.classify(self.pooling(bags.map(self.embed)).flatten(1))


class Reduce(nn.Module):
    """The mean or the maximum of every bag."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, bags: Bags) -> Tensor:
        """Bags of vectors (d,) -> (B, d)."""
        return torch.segment_reduce(bags.instances, self.how, lengths=bags.sizes)


class GatedAttention(nn.Module):
    """Weights softmax(w · tanh(V x) ∘ sigmoid(U x)) within each bag (Ilse et al. 2018)."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.tanh, self.gate, self.score = nn.Linear(size, hidden), nn.Linear(size, hidden), nn.Linear(hidden, 1)

    def association_weights(self, bags: Bags) -> Tensor:
        """(total, 1)."""
        scores = self.score(self.tanh(bags.instances).tanh() * self.gate(bags.instances).sigmoid())
        return torch.cat([part.softmax(0) for part in scores.split(bags.sizes.tolist())])

    def forward(self, bags: Bags) -> Tensor:
        """Bags of vectors (d,) -> (B, d)."""
        weighted = bags.instances * self.association_weights(bags)
        return torch.segment_reduce(weighted, "sum", lengths=bags.sizes)


METHODS = {
    "Hopfield pooling": lambda: Classifier(hopfield.HopfieldPooling(16, heads=2), width=32),
    "Hopfield pooling, learned β": lambda: Classifier(
        hopfield.HopfieldPooling(16, heads=2, beta=LearnedBeta([8**-0.5] * 2)), width=32
    ),
    "mean pooling": lambda: Classifier(Reduce("mean"), width=46),
    "max pooling": lambda: Classifier(Reduce("max"), width=46),
    "gated attention pooling": lambda: Classifier(GatedAttention(16, 32), width=32),
}


@torch.no_grad()
def weights(model: Classifier, bags: Bags) -> Tensor:
    """How much every image counts in its bag, for each head: (total, h)."""
    return model.pooling.association_weights(bags.map(model.embed)).flatten(1)


def draw(images: Bags, weight: Bags, wanted: Bags, path: Path, shown: int = 8) -> None:
    """The heaviest images of some bags, the heaviest on the left, the wanted digit framed."""
    rows, marked = {}, {}
    for bag, share, right in zip(images, weight, wanted, strict=True):
        top = share.topk(shown)
        name = f"{len(bag)} images,\n{100 * top.values[0]:.0f} % on one" + "\u200b" * len(rows)  # each its own name
        rows[name], marked[name] = bag[top.indices], right[top.indices].tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plot.png(plot.images(rows, marked=marked)))


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv, seeds=5, picture=True), time.perf_counter()
    sizes = (100, 50, 50) if args.quick else (600, 600, 600)
    digits = load_images()  # the digits of scikit-learn

    def numbered(seed: int) -> list[tuple[Bags, Tensor]]:
        torch.manual_seed(seed)
        parts = torch.randperm(len(digits.images)).tensor_split((700, 1250))  # no image is in two parts
        return [make_bags(rows, digits.labels, count) for rows, count in zip(parts, sizes, strict=True)]

    def make_data(seed: int) -> Data:
        return Data(*((bags.map(lambda rows: digits.images[rows]), targets) for bags, targets in numbered(seed)))

    numbers, models, data = compare(METHODS, make_data, args.seeds, epochs=2 if args.quick else 40)

    # which image decided, in the positive bags of the last seed's test part
    bags, targets = numbered(args.seeds[-1])[2]
    images, wanted = data.test[0][targets == 1], bags[targets == 1].map(lambda rows: digits.labels[rows] == DIGIT)
    heaviest = {}
    for name, model in models.items():
        if hasattr(model.pooling, "association_weights"):
            weight = images.with_instances(weights(model, images))
            hits = [right[share.argmax(0)] for right, share in zip(wanted, weight, strict=True)]  # (h,) each
            heaviest[name] = [round(share, 4) for share in torch.stack(hits).float().mean(0).tolist()]
            shares = " and ".join(f"{100 * share:.1f} %" for share in heaviest[name])
            print(f"{name}: the image that is heaviest for a head is the {DIGIT} in {shares} of the positive bags")
            if args.picture is not None and name == "Hopfield pooling, learned β":
                few = images.sizes.gt(20).nonzero().flatten()[:6]
                draw(images[few], weight[few].map(lambda rows: rows.mean(1)), wanted[few], args.picture)
    return report("digit_bags", args, start, numbers, list(METHODS)[2:], bags=sizes, digit=DIGIT, heaviest=heaviest)


if __name__ == "__main__":
    main()
