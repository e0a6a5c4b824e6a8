"""The published Sparkplug B message, as a class of Google's protobuf, from a short table of its fields."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELDS = {
    "Payload": "1 timestamp uint64, 2 metrics Metric*, 3 seq uint64, 4 uuid string, 5 body bytes",
    "Metric": "1 name string, 2 alias uint64, 3 timestamp uint64, 4 datatype uint32, 5 is_historical bool,"
    " 6 is_transient bool, 7 is_null bool, 9 properties PropertySet, 10 int_value uint32, 11 long_value uint64,"
    " 12 float_value float, 13 double_value double, 14 boolean_value bool, 15 string_value string,"
    " 16 bytes_value bytes",
    "PropertySet": "1 keys string*, 2 values PropertyValue*",
    "PropertyValue": "1 type uint32, 2 is_null bool, 3 int_value uint32, 4 long_value uint64, 5 float_value float,"
    " 6 double_value double, 7 boolean_value bool, 8 string_value string",
}
_VALUES = {4: "long_value", 8: "long_value", 10: "double_value", 11: "boolean_value", 12: "string_value"}
"""Where the value of a data type stands: Int64, UInt64, Double, Boolean, String."""


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_test.proto", package="sparkplug_test", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, table in _FIELDS.items():
        message = file.message_type.add(name=name)
        for row in table.split(", "):
            number, field, kind = row.split()
            found = message.field.add(name=field, number=int(number))
            found.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _FIELDS:
                found.type, found.type_name = kinds.TYPE_MESSAGE, f".sparkplug_test.{kind}"
            else:
                found.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug_test.Payload"))


Payload = _payload_class()


def decoded(data: bytes) -> Any:
    """A payload, in which nothing is of no known field."""
    message = Payload.FromString(data)
    assert message.SerializeToString(deterministic=True) == Payload.FromString(
        message.SerializeToString()
    ).SerializeToString(deterministic=True)
    message_without = Payload()
    message_without.CopyFrom(message)
    message_without.DiscardUnknownFields()
    assert message_without.ByteSize() == message.ByteSize() == len(data)
    return message


def values(message: Any) -> dict[str, Any]:
    """By name; each where its data type says."""
    found = {}
    for metric in message.metrics:
        field = _VALUES[metric.datatype]
        assert metric.is_null != metric.HasField(field)
        found[metric.name] = None if metric.is_null else getattr(metric, field)
    return found
