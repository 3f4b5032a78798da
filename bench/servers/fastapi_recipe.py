"""The README's recipe for FastAPI: presign's router in an application, here for everybody instead of signed-in users.

The other servers ask nobody to sign in either. Settings come from the environment.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware

from presign import Presigner, UploadPolicy
from presign.fastapi import create_router
from presign.s3 import S3Backend

presigner = Presigner(
    backend=S3Backend(bucket=os.environ["BUCKET"], region=os.environ["AWS_REGION"]),
    policy=UploadPolicy(
        content_types={"image/gif", "image/jpeg", "image/png", "image/webp"},
        max_bytes=2**30,
        prefix="public/",
        public_read=True,
        # The other servers do not store the file's name.
        content_disposition=None,
    ),
    secret=os.environ["PRESIGN_SECRET"],
)


async def current_user(request: Request) -> None:
    """Let everybody upload."""


app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=[os.environ["ORIGIN"]], allow_methods=["POST"], allow_headers=["*"])
app.include_router(create_router(presigner, authorize=current_user))
