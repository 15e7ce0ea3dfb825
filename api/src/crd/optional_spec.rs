//! Kinds whose `spec` may be left out (A26): kube's derive makes it a plain
//! field, and a type that reads itself as an option may be missing from its object.

/// Lets `$spec` be missing, or null, and read as its default. The type derives
/// serde's traits with `remote = "Self"`, which makes the derived functions
/// inherent ones, for the two impls here to call.
macro_rules! optional_spec {
    ($spec:ident) => {
        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Written($spec);
                impl<'de> serde::Deserialize<'de> for Written {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        $spec::deserialize(deserializer).map(Self)
                    }
                }
                let written: Option<Written> = serde::Deserialize::deserialize(deserializer)?;
                Ok(written.map_or_else(Self::default, |Written(spec)| spec))
            }
        }
    };
}

pub(super) use optional_spec;
