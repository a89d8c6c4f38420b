"""Flickr30k in Karpathy's splits, for retrieval and captions."""

import posixpath
from typing import Any

from smarttrim_jax.data.builders.karpathy import FOLDER, KarpathySplits, Photograph
from smarttrim_jax.errors import quoted


class Flickr30k(KarpathySplits):
    """Flickr30k (Young et al. 2014): photographs of people's everyday life with five captions each.

        dataset_flickr30k.json                 of Karpathy's caption_datasets.zip; it may lie in a folder karpathy
        flickr30k-images/1000092795.jpg ...    sent on request, see shannon.cs.illinois.edu/DenotationGraph

    | split | images with train=train, as BLIP | with train=train+val, as METER | which |
    |---|---|---|---|
    | train | 29,000 | 30,014, less calibration | train; with val |
    | calibration | 1,014 | about 2 %, by a hash of the file's name | val; of train and val |
    | test | 1,000 | 1,000 | test |

    The references of a record are its captions as they are written, in their order; blank ones are left out, and
    their number is printed.

    Preparation takes about ten minutes on two cores, and the size of the images on disk, about 4.4 GB. Images and
    captions are given for research and education only; the photographs are those of Flickr's users, under its terms.
    """

    title = "Flickr30k"
    page = "shannon.cs.illinois.edu/DenotationGraph and cs.stanford.edu/people/karpathy/deepimagesent"
    splits_file = "dataset_flickr30k.json"
    roots = (splits_file, FOLDER, "flickr30k-images")

    def photograph(self, row: dict[str, Any], captions: tuple[str, ...]) -> Photograph:
        """Tells where a photograph is; see `KarpathySplits.photograph`.

        Args:
            row: A row of the file without faults.
            captions: Its captions.

        Returns:
            The photograph, whose number is its file's name.
        """
        file = row["filename"]
        return Photograph(file, int(posixpath.splitext(file)[0]), f"flickr30k-images/{file}", captions)

    def key_problem(self, row: dict[str, Any]) -> str:
        """Describes what is wrong with the name of a file, which must be a number.

        Args:
            row: A row of the file.

        Returns:
            What is wrong; "" if nothing is.
        """
        number = posixpath.splitext(row["filename"])[0]
        is_number = number.isascii() and number.isdigit()
        return "" if is_number else f"its filename is {quoted(row['filename'])}, no number of an image"
