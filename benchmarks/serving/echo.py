"""The same uvicorn as perene's, which only echoes the body: what HTTP alone costs here.

python echo.py PORT
"""

from __future__ import annotations

import sys

import uvicorn


async def app(scope, receive, send) -> None:
    """Answer with what was sent."""
    body = (await receive())["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", interface="asgi3", ws="none",
        access_log=False, log_config=None, server_header=False, proxy_headers=False,
    )  # fmt: skip
