"""Flask: people sign in, upload pictures straight to the bucket, and see what they uploaded."""

import os
import sqlite3
from contextlib import closing
from secrets import compare_digest
from typing import Any

from flask import Flask, Request, abort, request, session

from presign import Completion, Presigner, Unauthenticated, UploadPolicy, open_backend
from presign.flask import create_blueprint

PASSWORDS = {"alice": "wonderland", "bob": "builder"}  # your application has its own users


def query(sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(os.environ["DATABASE"])) as connection, connection:
        return connection.execute(sql, values).fetchall()


def record(completion: Completion) -> None:
    # A client may complete an upload several times.
    sql = "INSERT INTO uploads (key, owner, name) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
    query(sql, completion.stored.key, completion.owner, completion.name)


def current_user(request: Request) -> str:
    if "user" not in session:
        raise Unauthenticated("sign in to upload")
    return str(session["user"])


def create_app() -> Flask:
    query("CREATE TABLE IF NOT EXISTS uploads (key TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT)")
    backend, prefix = open_backend(os.environ["PRESIGN_BUCKET"])
    policy = UploadPolicy(content_types={"image/png", "image/jpeg", "image/heic"}, max_bytes=10_000_000, prefix=prefix)
    presigner = Presigner(backend=backend, policy=policy, secret=os.environ["PRESIGN_SECRET"], on_complete=record)

    app = Flask(__name__)
    app.config.update(SECRET_KEY=os.environ["SESSION_SECRET"], SESSION_COOKIE_SAMESITE="Lax")
    app.register_blueprint(create_blueprint(presigner, authorize=current_user), url_prefix="/files")
    app.add_url_rule("/login", view_func=login, methods=["POST"])
    app.add_url_rule("/uploads", view_func=uploads)
    return app


def login() -> str:
    user, password = str(request.get_json().get("user")), str(request.get_json().get("password"))
    if user not in PASSWORDS or not compare_digest(PASSWORDS[user].encode(), password.encode()):
        abort(401)
    session["user"] = user
    return ""


def uploads() -> list[str]:
    if "user" not in session:
        abort(401)
    return [key for (key,) in query("SELECT key FROM uploads WHERE owner = ?", session["user"])]
