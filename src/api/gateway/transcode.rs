//! JSON to protobuf and back, as etcd configures protojson: the schema's own names on output, both
//! spellings on input, what is unknown is ignored.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Deserializer, Serializer};
use tonic::Status;

const READING: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(false);

const WRITING: SerializeOptions = SerializeOptions::new().use_proto_field_name(true);

/// The head of a gRPC message: whether it is compressed, and its length.
pub const FRAME_HEAD_BYTES: usize = 5;

/// A JSON value as a gRPC message with its head. Nothing at all is the message without any field.
pub fn read(kind: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Status> {
    let message = if json.is_empty() {
        DynamicMessage::new(kind.clone())
    } else {
        let mut json = Deserializer::from_slice(json);
        DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &READING)
            .map_err(|error| Status::invalid_argument(format!("proto: {error}")))?
    };
    let size_bytes = message.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME_HEAD_BYTES + size_bytes);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(size_bytes).expect("no longer than its JSON"));
    message
        .encode(&mut framed)
        .expect("there is room for all of it");
    Ok(framed.freeze())
}

/// Appends a message, without its head, as JSON.
pub fn write(kind: &MessageDescriptor, message: Bytes, json: &mut Vec<u8>) -> Result<(), Status> {
    let failed = |error: &dyn std::error::Error| Status::internal(error.to_string());
    let message = DynamicMessage::decode(kind.clone(), message).map_err(|error| failed(&error))?;
    message
        .serialize_with_options(&mut Serializer::new(json), &WRITING)
        .map_err(|error| failed(&error))
}
