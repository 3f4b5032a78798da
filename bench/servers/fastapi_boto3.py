"""The ticket server that a FastAPI user writes: a model of the request, one boto3 client, ``generate_presigned_post``.

It takes the same request as presign and the Express server, and signs the same conditions. The route is ``async``
because it does no I/O, and FastAPI would run a plain function on a thread. Settings come from the environment.
"""

from __future__ import annotations

import os
import uuid
from typing import Any, Literal

import boto3
from botocore.config import Config
from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, Field

BUCKET = os.environ["BUCKET"]
MIN_BYTES, MAX_BYTES = 1, 2**30

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=[os.environ["ORIGIN"]], allow_methods=["POST"], allow_headers=["*"])
s3 = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))


class UploadRequest(BaseModel):
    """What the browser asks for."""

    type: Literal["image/gif", "image/jpeg", "image/png", "image/webp"]
    size: int | None = Field(None, ge=MIN_BYTES, le=MAX_BYTES)
    name: str | None = Field(None, max_length=255)


@app.post("/upload")
async def upload(request: UploadRequest, response: Response) -> dict[str, Any]:
    """Answer with a form for one file."""
    key = f"public/{uuid.uuid4().hex}"
    response.headers["Cache-Control"] = "no-store"
    post: dict[str, Any] = s3.generate_presigned_post(
        BUCKET,
        key,
        Fields={"Content-Type": request.type, "success_action_status": "201"},
        Conditions=[
            {"Content-Type": request.type},
            {"success_action_status": "201"},
            ["content-length-range", request.size or MIN_BYTES, request.size or MAX_BYTES],
        ],
        ExpiresIn=60,
    )
    return {"method": "POST", **post, "key": key}
