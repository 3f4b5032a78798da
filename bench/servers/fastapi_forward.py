"""An application that forwards uploads, as most applications do: FastAPI receives the file, boto3 sends it to S3.

Starlette keeps a large upload in a temporary file. ``upload_fileobj`` then sends it in parts, on its own threads.
Settings come from the environment.
"""

from __future__ import annotations

import os
import uuid
from typing import Annotated

import boto3
from botocore.config import Config
from fastapi import FastAPI, File, UploadFile

BUCKET = os.environ["BUCKET"]

app = FastAPI()
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["ENDPOINT_URL"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)


@app.post("/upload")
def upload(file: Annotated[UploadFile, File()]) -> dict[str, str]:
    """Store one file. The route is a plain function, so FastAPI runs it on a thread, because boto3 blocks."""
    # The local storage lets this access key write nowhere else.
    key = f"pending/{uuid.uuid4().hex}"
    s3.upload_fileobj(file.file, BUCKET, key, ExtraArgs={"ContentType": file.content_type or ""})
    return {"key": key}
