"""The protocol buffers of Google Authenticator's transfer codes, written and read by Google's own
library. The numbers of the fields are those of the app."""

import base64
from urllib.parse import parse_qs, quote, urlsplit

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SHA1, SHA256, SHA512, MD5 = 1, 2, 3, 4
SIX, EIGHT = 1, 2
HOTP, TOTP = 1, 2
FIELD = descriptor_pb2.FieldDescriptorProto
PARAMETERS = [
    ("secret", FIELD.TYPE_BYTES),
    ("name", FIELD.TYPE_STRING),
    ("issuer", FIELD.TYPE_STRING),
    ("algorithm", FIELD.TYPE_INT32),
    ("digits", FIELD.TYPE_INT32),
    ("type", FIELD.TYPE_INT32),
    ("counter", FIELD.TYPE_INT64),
]
BATCH = ["version", "batch_size", "batch_index", "batch_id"]


def _payload_class():
    file = descriptor_pb2.FileDescriptorProto(name="transfer.proto", syntax="proto3")
    parameters = file.message_type.add(name="OtpParameters")
    for number, (name, kind) in enumerate(PARAMETERS, 1):
        parameters.field.add(name=name, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
    payload = file.message_type.add(name="Payload")
    payload.field.add(
        name="otp_parameters",
        number=1,
        type=FIELD.TYPE_MESSAGE,
        type_name=".OtpParameters",
        label=FIELD.LABEL_REPEATED,
    )
    for number, name in enumerate(BATCH, 2):
        payload.field.add(
            name=name, number=number, type=FIELD.TYPE_INT32, label=FIELD.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Payload"))


Payload = _payload_class()


def uri_of(factors, batch_size=1, batch_index=0, batch_id=7):
    """The URI of one QR code. Factors are dictionaries."""
    payload = Payload(version=1, batch_size=batch_size, batch_index=batch_index, batch_id=batch_id)
    for factor in factors:
        payload.otp_parameters.add(**factor)
    data = base64.b64encode(payload.SerializeToString()).decode()
    return f"otpauth-migration://offline?data={quote(data, safe='')}"


def read(uri):
    """The payload of a QR code."""
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth-migration", "offline")
    (data,) = parse_qs(parts.query)["data"]
    payload = Payload()
    payload.ParseFromString(base64.b64decode(data, validate=True))
    return payload
