"""Check a ticket server: its answer is for the page, and its form lets exactly the file that was asked for be stored.

A strict S3 server judges the form (``emulators.s3_reference``). It is called in this process, and gets no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import httpx

from bench.ticket_servers import AWS, BUCKET, ORIGIN, REGION
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.signature_v4 import HmacKey

REQUEST = {"type": "image/png", "size": 48213, "name": "cat.png"}
"""The request for a ticket that each server gets here, and from ``upload.lua``."""
LIFETIME = timedelta(seconds=60)
_STORAGE = f"http://localhost/{BUCKET}"


def check_answer(name: str, url: str) -> None:
    """Raise AssertionError unless the server ``name`` answers at ``url`` with a ticket that the page may read."""
    answer = httpx.post(url, json=REQUEST, headers={"Origin": ORIGIN}, trust_env=False).raise_for_status()
    if answer.headers.get("Access-Control-Allow-Origin") != ORIGIN:
        raise AssertionError(f"{name} does not let the page's origin read its answer")
    form = {field.lower(): value for field, value in answer.json()["fields"].items()}
    wrong = asyncio.run(_wrong_answers(form))
    if wrong:
        raise AssertionError(f"{name} answers with a form that is not for the file alone: {', '.join(wrong)}")


async def _wrong_answers(form: Mapping[str, str]) -> list[str]:
    """Return in words where S3 does not do with uploads of the form (names in lower case) what it should."""
    now = datetime.now(timezone.utc)
    bucket = S3Bucket()
    storage = S3Reference(
        buckets={BUCKET: bucket},
        access_keys={AWS["AWS_ACCESS_KEY_ID"]: HmacKey(secret=AWS["AWS_SECRET_ACCESS_KEY"])},
        region=REGION,
        clock=lambda: now,
    )
    file = bytes(int(str(REQUEST["size"])))
    refused = {
        "a longer file": (form, file + b"\0"),
        "a shorter file": (form, file[1:]),
        "another type": ({**form, "content-type": "image/gif"}, file),
        "another key": ({**form, "key": f"{form['key']}2"}, file),
        "another field": ({**form, "acl": "public-read"}, file),
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=storage)) as client:

        async def post(fields: Mapping[str, str], content: bytes) -> httpx.Response:
            return await client.post(_STORAGE, data=fields, files={"file": ("cat.png", content)})

        answer = await post(form, file)
        wrong = [] if answer.status_code == 201 else [f"the file gets {answer.status_code}: {answer.text}"]
        stored = bucket.objects.get(form["key"])
        if stored is None or (stored.body, stored.content_type) != (file, REQUEST["type"]):
            wrong.append("the file is not stored")
        for what, (fields, content) in refused.items():
            answer = await post(fields, content)
            if not answer.is_client_error:
                wrong.append(f"{what} gets {answer.status_code}")
        now += LIFETIME + timedelta(seconds=1)
        answer = await post(form, file)
        if not answer.is_client_error:
            wrong.append(f"the file after {LIFETIME.seconds} seconds gets {answer.status_code}")
    return wrong
