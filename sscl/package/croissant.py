"""Croissant metadata of a release (MLCommons, https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import mlcroissant as mlc

from sscl.config import PackageConfig
from sscl.data.base import SPLITS
from sscl.package.files import DATA, File


def licence_address(identifier: str) -> str | None:
    """Where SPDX has a licence's text; ``None`` for ``other`` and for expressions of several."""
    known = re.fullmatch(r"[A-Za-z0-9.+-]+", identifier) and identifier.lower() != "other"
    return f"https://spdx.org/licenses/{identifier}.html" if known else None


def croissant(about: PackageConfig, shards: Sequence[File]) -> dict[str, Any]:
    """JSON-LD with every shard's SHA-256, and a record set for each split."""
    objects = [
        mlc.FileObject(
            id=shard.path,
            name=shard.path,
            content_url=shard.path,
            content_size=f"{shard.size} B",
            encoding_formats=["application/x-parquet"],
            sha256=shard.sha256,
        )
        for shard in shards
    ]
    sets = [
        mlc.FileSet(
            id=f"{split}-shards",
            name=f"{split}-shards",
            encoding_formats=["application/x-parquet"],
            includes=[f"{DATA}/{split}-*.parquet"],
        )
        for split in SPLITS
    ]
    metadata = mlc.Metadata(
        name=about.name,
        description=about.description,
        license=[licence_address(about.licence) or about.licence],
        creators=[mlc.Organization(name=about.creator)],
        url=about.url,
        distribution=[*objects, *sets],
        record_sets=[mlc.RecordSet(id=split, name=split, fields=_fields(split, about.labels)) for split in SPLITS],
    )
    found: dict[str, Any] = metadata.to_json()
    return found


def _fields(split: str, labels: bool) -> list[mlc.Field]:
    def source(column: str, *transforms: mlc.Transform) -> mlc.Source:
        return mlc.Source(file_set=f"{split}-shards", extract=mlc.Extract(column=column), transforms=list(transforms))

    image = source("image", mlc.Transform(json_path="bytes"))
    fields = [mlc.Field(id=f"{split}/image", name="image", data_types=[mlc.DataType.IMAGE_OBJECT], source=image)]
    if labels:
        label = source("label")
        fields.append(mlc.Field(id=f"{split}/label", name="label", data_types=[mlc.DataType.INT64], source=label))
    return fields
