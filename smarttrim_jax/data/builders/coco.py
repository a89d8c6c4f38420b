"""COCO in Karpathy's splits, for retrieval and captions."""

from typing import Any

from smarttrim_jax.data.builders.karpathy import FOLDER, KarpathySplits, Photograph
from smarttrim_jax.data.builders.rows import is_count, is_file_name
from smarttrim_jax.data.submissions import coco_caption_results
from smarttrim_jax.errors import quoted


class COCO(KarpathySplits):
    """COCO (Lin et al. 2014; Chen et al. 2015): photographs with five captions each, for captions and retrieval.

        dataset_coco.json                                 of Karpathy's caption_datasets.zip; or in a folder karpathy
        train2014/COCO_train2014_000000000009.jpg ...     and val2014/, from cocodataset.org, "Download"

    | split | images with train=train, as METER and BLIP | with train=train+val | which |
    |---|---|---|---|
    | train | 113,287 | 118,287, less calibration | train and restval; with val |
    | calibration | 5,000 | about 2 %, by a hash of the image's number | val; of all three |
    | test | 5,000 | 5,000 | test |

    The references of a record are its captions as they are written, in their order; blank ones are left out, and
    their number is printed. `image_id` of the metadata is COCO's number of the image, which result files need.

    Preparation takes about half an hour on two cores, 2 GB of memory, and the size of the images on disk, about 19 GB
    (train2014 has 13 GB, val2014 6 GB). The captions are published under CC BY 4.0; the photographs are those of
    Flickr's users, under its terms.
    """

    title = "COCO"
    submission = staticmethod(coco_caption_results)
    page = "cocodataset.org and cs.stanford.edu/people/karpathy/deepimagesent"
    splits_file = "dataset_coco.json"
    key = "cocoid"
    roots = (splits_file, FOLDER, "train2014", "val2014")

    def photograph(self, row: dict[str, Any], captions: tuple[str, ...]) -> Photograph:
        """Tells where a photograph is; see `KarpathySplits.photograph`.

        Args:
            row: A row of the file without faults.
            captions: Its captions.

        Returns:
            The photograph, whose name and number are COCO's number.
        """
        number = row["cocoid"]
        return Photograph(str(number), number, f"{row['filepath']}/{row['filename']}", captions)

    def key_problem(self, row: dict[str, Any]) -> str:
        """Describes what is wrong with the folder or the number of an image.

        Args:
            row: A row of the file.

        Returns:
            What is wrong; "" if nothing is.
        """
        if not is_file_name(row.get("filepath")):
            return f"its filepath is {quoted(row.get('filepath'))}, no folder"
        return "" if is_count(row.get("cocoid")) else f"its cocoid is {quoted(row.get('cocoid'))}, no whole number"
