"""Uppy's Companion mode: what Uppy 5 and 6 ask their own server for a single upload, translated to ``POST /upload``.

``GET /s3/params?filename=cat.png&type=image/png&metadata[size]=48213`` is answered with a ticket, of which Uppy reads
``method``, ``url``, ``fields`` and ``headers``. Companion's own answer also has ``expires``. Uppy needs none, and where
it reads one, it takes it for a limit on the time of the transfer, so the ticket has none.

Uppy 5 shows the member ``message`` of a refusal to the user, so every problem has it here. Sources:
``HTTPCommunicationQueue.ts`` in @uppy/aws-s3 5.1.0, ``RequestClient.ts`` in @uppy/companion-client 5.1.1, and
``CompanionS3.ts`` in @uppy/aws-s3 6.3.1.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import orjson

from presign.errors import InvalidRequest
from presign.http.problems import ProblemResponse, problem_response_for_status
from presign.presigner import Presigner

PREFIX = "/s3/"
"""What Uppy puts between the address that it is given and the name of what it asks for."""

PARAMS = "params"
"""The name of what is served: the parameters of a single upload."""

SIZE = "metadata[size]"
MEMBERS = {"type": "type", "filename": "name", SIZE: "size", "metadata[sha256]": "sha256"}
"""The parameters of the query that mean something here, and the members of ``POST /upload`` that they become."""

_MAX_PARAMETERS = 100


def body_of_query(presigner: Presigner, query: str) -> bytes:
    """Return the body with which ``POST /upload`` asks for the same ticket.

    Uppy sends all metadata of the file; only ``size`` and ``sha256`` mean something here. Raises InvalidRequest for a
    query that no Uppy sends, and without a size if ``presigner`` needs it: Uppy itself sends none.
    """
    try:
        parameters = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise InvalidRequest("the query is not in the form name=value&name=value") from None
    values = [(MEMBERS[name], value) for name, value in parameters if name in MEMBERS]
    members: dict[str, str | int] = dict(values)
    if len(members) != len(values):
        raise InvalidRequest("the query has a parameter twice")
    if "size" in members:
        members["size"] = _whole_number(str(members["size"]))
    elif presigner.requires_size:
        raise InvalidRequest(
            f"'{SIZE}' is required: call uppy.setFileMeta(file.id, {{ size: file.size }}) before the upload", field=SIZE
        )
    return orjson.dumps(members)


def refusal(name: str, method: str) -> ProblemResponse | None:
    """Return the answer to a request for ``name`` that is not served, or None if it asks for a ticket."""
    if name != PARAMS:
        problem = problem_response_for_status(
            404,
            title="Not Found",
            detail="only single uploads are served here; set shouldUseMultipart: false in Uppy",
        )
    elif method != "GET":
        problem = problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": "GET"})
    else:
        return None
    return with_message(problem)


def with_message(problem: ProblemResponse) -> ProblemResponse:
    """Return the problem with its ``detail`` as ``message`` too."""
    members = orjson.loads(problem.body)
    return problem._replace(body=orjson.dumps({**members, "message": members["detail"]}))


def _whole_number(value: str) -> int:
    # isdigit, because int also accepts signs, spaces and underscores; and int refuses a text of 4,300 digits.
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(2**63))):
        raise InvalidRequest(f"'{SIZE}' must be a whole number of bytes", field=SIZE, value=value)
    return int(value)
