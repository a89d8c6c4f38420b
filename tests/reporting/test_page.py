"""The page holds every example once, in one file that loads nothing."""

import json
import re
from typing import Any

from explained import explanation

from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.serving.retrieved import Candidate, Retrieved

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def content(page: str) -> Any:
    (data,) = DATA.findall(page)
    assert "<" not in data
    return json.loads(data)


def test_a_page_is_one_file_that_loads_nothing() -> None:
    page = build_page([explanation(text="</script><img src=https://a.b>", answer="größer 😀 \udc80")], "これ")
    code = DATA.sub("", page)
    assert not re.search(r"<(link|img|iframe|object)|(src|href)=|url\(|import|fetch|XMLHttp", code)
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")
    assert set(re.findall(r"\.src = (\w+)", code)) == {"source", "data"}  # of which all pictures are held by the page
    assert content(page)["examples"][0]["answer"] == "größer 😀 \udc80"
    page.encode()


def test_an_image_of_several_examples_is_stored_once() -> None:
    same = [explanation(1), explanation(1), explanation(2, images=2)]
    data = content(build_page(same, "page"))
    assert [example["images"] for example in data["examples"]] == [[0], [0], [1, 2]]
    assert len(data["pictures"]) == 3
    assert all(picture.startswith("data:image/png;base64,") for picture in data["pictures"])


def test_a_page_holds_references_and_what_was_found() -> None:
    candidates = [Candidate(explanation(2).images, 0.9, False), Candidate(explanation(1).images, 0.8, True)]
    found = {"found_images": Retrieved(candidates, 2, 40), "found_texts": Retrieved([], 1, 30)}
    (example,) = content(build_page([explanation(1, references=["a", "b"], label="c", **found)], "page"))["examples"]
    assert (example["references"], example["correct"]) == (["a", "b"], True)
    assert example["found_images"] == {"first": [[[1], 0.9, False], [[0], 0.8, True]], "place": 2, "candidates": 40}
    assert example["found_texts"] == {"first": [], "place": 1, "candidates": 30}
