"""FastAPI: people sign in, upload pictures straight to the bucket, and see what they uploaded."""

import os
import sqlite3
from contextlib import closing
from secrets import compare_digest
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from starlette.middleware.sessions import SessionMiddleware

from presign import Completion, Presigner, StoredObject, UploadPolicy, open_backend
from presign.fastapi import completed_upload, create_router

PASSWORDS = {"alice": "wonderland", "bob": "builder"}  # your application has its own users


def query(sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(os.environ["DATABASE"])) as connection, connection:
        return connection.execute(sql, values).fetchall()


def record(completion: Completion) -> None:
    # A client may complete an upload several times.
    sql = "INSERT INTO uploads (key, owner, name) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
    query(sql, completion.stored.key, completion.owner, completion.name)


async def current_user(request: Request) -> str:
    if "user" not in request.session:
        raise HTTPException(401, "sign in to upload")
    return str(request.session["user"])


query("CREATE TABLE IF NOT EXISTS uploads (key TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT)")
backend, prefix = open_backend(os.environ["PRESIGN_BUCKET"])
policy = UploadPolicy(content_types={"image/png", "image/jpeg", "image/heic"}, max_bytes=10_000_000, prefix=prefix)
presigner = Presigner(backend=backend, policy=policy, secret=os.environ["PRESIGN_SECRET"], on_complete=record)
Avatar = Annotated[StoredObject, Depends(completed_upload(presigner, authorize=current_user, field="avatar"))]

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"], same_site="lax")
app.include_router(create_router(presigner, authorize=current_user), prefix="/files")


@app.post("/login")
async def login(request: Request, user: Annotated[str, Body()], password: Annotated[str, Body()]) -> None:
    if user not in PASSWORDS or not compare_digest(PASSWORDS[user].encode(), password.encode()):
        raise HTTPException(401, "user or password is wrong")
    request.session["user"] = user


@app.get("/uploads")
def uploads(user: Annotated[str, Depends(current_user)]) -> list[str]:
    return [key for (key,) in query("SELECT key FROM uploads WHERE owner = ?", user)]


@app.put("/profile")
async def save_profile(avatar: Avatar, title: Annotated[str, Body()]) -> dict[str, str]:
    return {"title": title, "avatar": avatar.key}
