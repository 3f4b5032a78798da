"""The first form of google-cloud-storage, with a service account's key."""

import sys
from datetime import timedelta

from google.cloud import storage  # type: ignore[import-untyped]

client = storage.Client.from_service_account_json(sys.argv[1], project="example")
form = client.generate_signed_post_policy_v4(
    "example-bucket",
    "public/cat.png",
    timedelta(minutes=15),
    conditions=[["content-length-range", 1, 10_000_000]],
    fields={"Content-Type": "image/png"},
)
assert form["fields"]["policy"]
