//! The bounds that MetalLB's schemas give to the BGP kinds (A70 to A72).

use schemars::{Schema, SchemaGenerator, json_schema};

/// An AS number (RFC 6793): four bytes.
pub(in crate::crd) fn as_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX })
}

/// `spec.localASN`.
pub(in crate::crd) fn local_as_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": u32::MAX })
}

/// `spec.dynamicASN`.
pub(in crate::crd) fn dynamic_as(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["internal", "external"] })
}

/// `spec.peerPort`.
pub(in crate::crd) fn peer_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": 16384, "default": 179 })
}

/// `spec.peerPort` in `v1beta1`, where 0 is let through.
pub(in crate::crd) fn old_peer_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": 16384 })
}

/// `spec.connectTime`.
pub(in crate::crd) fn connect_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 64,
        "x-kubernetes-validations": [
            {
                "rule": "duration(self) >= duration('1s') && duration(self) <= duration('65535s')",
                "message": "must be from 1s to 65535s",
            },
            {
                "rule": "duration(self).getMilliseconds() % 1000 == 0",
                "message": "must be a whole number of seconds",
            },
        ],
    })
}

/// `spec.enableGracefulRestart`.
pub(in crate::crd) fn immutable_switch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "boolean",
        "x-kubernetes-validations": [{ "rule": "self == oldSelf", "message": "cannot be changed" }],
    })
}

/// An interval of BFD in milliseconds.
pub(in crate::crd) fn bfd_interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 10, "maximum": 60000 })
}

/// `spec.detectMultiplier`.
pub(in crate::crd) fn bfd_multiplier(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 2, "maximum": 255 })
}

/// `spec.minimumTtl`.
pub(in crate::crd) fn bfd_ttl(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 254 })
}
