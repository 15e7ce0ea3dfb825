//! What comes out of a speaker's process, for the wire, the API, the checkers and the trace.

use ferrolb_api::ServiceKey;
use ferrolb_api::config::{ConfigurationReport, NodeNetwork};
use speaker_core::{EventReason, L2StatusChange, Notice};

/// Something that a speaker did, for timeline and checkers.
#[derive(Clone, Debug)]
pub enum SpeakerOutput {
    /// It said something.
    Notice(Notice),
    /// It judged the custom resources.
    Configuration(ConfigurationReport),
    /// It said what stands on its node's network.
    Network(NodeNetwork),
    /// It made a Kubernetes Event.
    Event {
        /// On which Service.
        service: ServiceKey,
        /// Its reason.
        reason: EventReason,
        /// Its text.
        message: String,
    },
    /// It asked for a change of a `ServiceL2Status`.
    L2Status {
        /// The object's name.
        name: String,
        /// What to do.
        change: L2StatusChange,
    },
    /// It sent a frame.
    Frame(Vec<u8>),
    /// It has left and ended.
    Exit,
}
