"""boto3's first form for S3, with the credentials and the region of the environment."""

import boto3
from botocore.config import Config

form = boto3.client("s3", config=Config(signature_version="s3v4")).generate_presigned_post(
    "example-bucket",
    "public/cat.png",
    Fields={"Content-Type": "image/png"},
    Conditions=[{"Content-Type": "image/png"}, ["content-length-range", 1, 10_000_000]],
)
assert form["fields"]["policy"]
