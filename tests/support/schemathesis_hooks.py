"""What schemathesis cannot know of this API: how a delivery is signed, and who is there to be asked about."""

import hashlib
import hmac
import os
import time

import schemathesis
from requests.auth import AuthBase

SECRET = os.environ["CONTRACT_SECRET"].encode()
MEMBERS = os.environ["CONTRACT_MEMBERS"].split(",")
VIDEOS = os.environ["CONTRACT_VIDEOS"].split(",")
POSITION = os.environ["CONTRACT_POSITION"]


class Signed(AuthBase):
    """Signs the bytes that are sent, as Stripe does."""

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        moment = str(int(time.time()))
        signature = hmac.new(SECRET, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
        request.headers["Stripe-Signature"] = f"t={moment},v1={signature}"
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    """Signs every other delivery that is meant to be good; the rest must be refused. Asks for no position to come."""
    if case.headers and "Membership-Position" in case.headers:
        case.headers["Membership-Position"] = POSITION
    if case.path != "/webhooks/stripe" or case.meta is None:
        return
    if case.meta.generation.mode.is_positive and len(str(case.body)) % 2 == 0:
        kwargs["auth"] = Signed()


@schemathesis.hook
def map_body(context, body):
    """Lets questions be about members and videos that are there."""
    checks = body.get("checks") if isinstance(body, dict) else None
    for number, check in enumerate(checks if isinstance(checks, list) else []):
        if number % 2 == 0 and isinstance(check, dict) and {"member", "video"} <= check.keys():
            if isinstance(check["member"], str) and isinstance(check["video"], str):
                check["member"] = MEMBERS[number // 2 % len(MEMBERS)]
                check["video"] = VIDEOS[number // 4 % len(VIDEOS)]
    return body
