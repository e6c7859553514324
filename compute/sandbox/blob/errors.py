"""Refusals of the Blob service: XML, with the code in a header too."""

import uuid
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from aiohttp import web

_WORDS = {
    "AuthenticationFailed": "Server failed to authenticate the request. Make sure the value of Authorization header is "
    "formed correctly including the signature.",
    "AuthorizationPermissionMismatch": "This request is not authorized to perform this operation using this "
    "permission.",
    "AuthorizationProtocolMismatch": "This request is not authorized to perform this operation using this protocol.",
    "BlobAlreadyExists": "The specified blob already exists.",
    "BlobNotFound": "The specified blob does not exist.",
    "ConditionNotMet": "The condition specified using HTTP conditional header(s) is not met.",
    "ContainerAlreadyExists": "The specified container already exists.",
    "ContainerNotFound": "The specified container does not exist.",
    "InvalidBlockId": "The specified block ID is invalid. The block ID must be Base64-encoded.",
    "InvalidBlockList": "The specified block list is invalid.",
    "InvalidHeaderValue": "The value for one of the HTTP headers is not in the correct format.",
    "InvalidInput": "One of the request inputs is not valid.",
    "InvalidQueryParameterValue": "Value for one of the query parameters specified in the request URI is invalid.",
    "InvalidRange": "The range specified is invalid for the current size of the resource.",
    "InvalidResourceName": "The specified resource name contains invalid characters.",
    "InvalidUri": "The requested URI does not represent any resource on the server.",
    "InvalidXmlDocument": "XML specified is not syntactically valid.",
    "Md5Mismatch": "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    "MissingContentLengthHeader": "The Content-Length header was not specified.",
    "MissingRequiredHeader": "An HTTP header that's mandatory for this request is not specified.",
    "NoAuthenticationInformation": "Server failed to authenticate the request. Please refer to the information in the "
    "www-authenticate header.",
    "RequestBodyTooLarge": "The request body is too large and exceeds the maximum permissible limit.",
    "ServerBusy": "The server is busy.",
    "UnsupportedHttpVerb": "The resource doesn't support specified Http Verb.",
}


class BlobError(Exception):
    """A refusal: its status, Azure's code, and what more there is to say (`AuthenticationErrorDetail`)."""

    def __init__(self, status: int, code: str, detail: str = "", **headers: str) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers

    def response(self, method: str) -> web.Response:
        """The answer; without a body for HEAD."""
        request_id = str(uuid.uuid4())
        words = f"{_WORDS.get(self.code, self.code)}\nRequestId:{request_id}\nTime:{datetime.now(UTC).isoformat()}"
        more = f"<AuthenticationErrorDetail>{escape(self.detail)}</AuthenticationErrorDetail>" if self.detail else ""
        head = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{self.code}</Code>'
        text = f"{head}<Message>{words}</Message>{more}</Error>"
        headers = {**self.headers, "x-ms-error-code": self.code, "x-ms-request-id": request_id}
        if method == "HEAD" or self.status == 304:
            return web.Response(status=self.status, headers=headers)
        return web.Response(status=self.status, body=text.encode(), content_type="application/xml", headers=headers)
