//! What both binaries' shells share: flags, JSON logs, HTTP endpoints, watches, writes with backoff, Events.
