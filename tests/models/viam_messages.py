"""The messages of Viam's API that a client for captures meets, as classes of Google's protobuf, from a short table."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2

TABLE = {
    "Credentials": "1 type, 2 payload",
    "AuthenticateRequest": "1 entity, 2 credentials:Credentials",
    "AuthenticateResponse": "1 access_token",
    "UploadMetadata": "1 part_id, 2 component_type, 3 component_name, 5 method_name, 6 type:DataType, 7 file_name, "
    "9 file_extension, 10 tags*, 12 dataset_ids*, 13 mime_type, 14 file_create_time:Timestamp, "
    "15 file_modify_time:Timestamp",
    "BoundingBox": "1 id, 2 label, 3 x_min_normalized:double, 4 y_min_normalized:double, 5 x_max_normalized:double, "
    "6 y_max_normalized:double, 7 confidence:double|sure",
    "Classification": "3 id, 1 label, 2 confidence:double|sure",
    "Annotations": "1 bboxes:BoundingBox*, 2 classifications:Classification*",
    "SensorMetadata": "1 time_requested:Timestamp, 2 time_received:Timestamp, 4 annotations:Annotations",
    "SensorData": "1 metadata:SensorMetadata, 2 struct:Struct|data, 3 binary:bytes|data",
    "DataCaptureUploadRequest": "1 metadata:UploadMetadata, 2 sensor_contents:SensorData*",
    "DataCaptureUploadMetadata": "1 upload_metadata:UploadMetadata, 2 sensor_metadata:SensorMetadata",
    "StreamingDataCaptureUploadRequest": "1 metadata:DataCaptureUploadMetadata|packet, 2 data:bytes|packet",
    "FileData": "1 data:bytes",
    "FileUploadRequest": "1 metadata:UploadMetadata|packet, 2 file_contents:FileData|packet",
    "UploadResponse": "1 file_id, 2 binary_data_id",
    "TagsFilter": "1 type:int32, 2 tags*",
    "Filter": "9 part_id, 14 tags_filter:TagsFilter",
    "DataRequest": "1 filter:Filter, 2 limit:uint64, 3 last, 4 sort_order:int32",
    "BinaryDataByFilterRequest": "1 data_request:DataRequest, 2 include_binary:bool, 3 count_only:bool",
    "CaptureMetadata": "6 part_id, 12 tags*",
    "BinaryMetadata": "1 id, 2 capture_metadata:CaptureMetadata, 5 file_name, 10 binary_data_id",
    "BinaryData": "1 binary:bytes, 2 metadata:BinaryMetadata",
    "BinaryDataByFilterResponse": "1 data:BinaryData*, 2 count:uint64, 3 last",
    "TabularDataByFilterRequest": "1 data_request:DataRequest, 2 count_only:bool",
    "TabularDataByFilterResponse": "3 count:uint64, 4 last, 5 total_size_bytes:uint64",
    "BinaryDataByIDsRequest": "2 include_binary:bool, 4 binary_data_ids*",
    "DeleteBinaryDataByIDsRequest": "3 binary_data_ids*",
    "DeleteTabularFilter": "3 part_id, 7 tags_filter:TagsFilter",
    "DeleteTabularDataRequest": "1 organization_id, 2 delete_older_than_days:int32, 3 filter:DeleteTabularFilter",
    "DeletedResponse": "1 deleted_count:uint64",
}
"""Number, name, `:type` where it is no string, `*` where it is repeated, `|oneof`."""

_PACKAGE = "tests.viam"
_SCALARS = {"": 9, "bytes": 12, "double": 1, "bool": 8, "int32": 5, "uint64": 4, "DataType": 14}
_DATA_TYPES = ("DATA_TYPE_UNSPECIFIED", "DATA_TYPE_BINARY_SENSOR", "DATA_TYPE_TABULAR_SENSOR", "DATA_TYPE_FILE")


def classes() -> dict[str, type]:
    """By name. Each call makes the same in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    for known in (struct_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="viam.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend(("google/protobuf/struct.proto", "google/protobuf/timestamp.proto"))
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(_DATA_TYPES):
        kinds.value.add(name=name, number=number)
    for name, fields in TABLE.items():
        _describe(file.message_type.add(name=name), fields)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in TABLE}


def _describe(message, fields: str) -> None:
    for field in fields.split(", "):
        number, rest = field.split(" ")
        rest, _, oneof = rest.partition("|")
        name, _, kind = rest.rstrip("*").partition(":")
        added = message.field.add(name=name, number=int(number), label=3 if rest.endswith("*") else 1)
        added.type = _SCALARS.get(kind, 11)
        if kind == "DataType" or kind not in _SCALARS:
            package = "google.protobuf" if kind in ("Struct", "Timestamp") else _PACKAGE
            added.type_name = f".{package}.{kind}"
        if oneof:
            if oneof not in [each.name for each in message.oneof_decl]:
                message.oneof_decl.add(name=oneof)
            added.oneof_index = [each.name for each in message.oneof_decl].index(oneof)
