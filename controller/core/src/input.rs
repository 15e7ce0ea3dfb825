//! Everything that can happen to a controller.

use ferrolb_api::config::Resources;
use ferrolb_api::{Service, ServiceKey};

/// One thing that happened. Nothing is granted before both [`Input::Resources`]
/// and [`Input::Services`] have come once (C4, C8).
#[derive(Clone, Debug)]
pub enum Input {
    /// The custom resources as they now stand, all of them, each time one changes.
    Resources(Resources),
    /// Every Service of the cluster: the first list, and each list made again
    /// after a watch was lost. A Service that is missing here is gone.
    Services(Vec<Service>),
    /// A Service was created or changed.
    Service(Box<Service>),
    /// A Service was deleted.
    ServiceGone(ServiceKey),
    /// The time that [`crate::Controller::poll_timeout`] named has come.
    Timeout,
}
