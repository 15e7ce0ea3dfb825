# Shortcuts for `just`; each is a plain command that works as well without it. CONTRIBUTING.md says when to use which.

# The list
default:
    @just --list --unsorted

# Everything that must hold, or only some steps of it: just ci lint docs
ci *steps:
    .ci/run {{ steps }}

# Formats all sources
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml

# One core: just core speaker election
core name *filter:
    cargo test -p {{ name }}-core {{ filter }}

# The rules of the tree: sources, pages, manifests, packages
rules *filter:
    cargo test -p tests --test rules -- {{ filter }}

# Clusters in virtual time
simulation *filter:
    cargo test -p tests --test simulation -- {{ filter }}

# Both shells against the in-memory API server
shells *filter:
    cargo test -p tests --test shells -- {{ filter }}

# The speaker on the real kernel, in network namespaces
kernel *filter:
    cargo test -p tests --test kernel -- {{ filter }}

# Both programs against a real kube-apiserver, which is built once
real-api *filter:
    KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install) cargo test -p tests --test real-api -- {{ filter }}

# The whole product as processes, tested
whole *filter:
    KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install) cargo test -p cluster --test whole -- {{ filter }}

# The whole product as processes, to look at
cluster *arguments:
    KUBEBUILDER_ASSETS=$(tests/kube-apiserver/install) cargo run -p cluster -- {{ arguments }}

# Takes what the generated files and snapshots should be
accept:
    UPDATE_MANIFESTS=1 cargo test -p tests --test rules -- crds
    INSTA_UPDATE=always cargo test -p tests --test rules -- manifests
    INSTA_UPDATE=always cargo test -p tests --test simulation -- scenarios

# Many seeds of one scenario: just sweep failover 0..200
sweep scenario seeds:
    cargo run --release --locked -p netsim -- sweep --seeds {{ seeds }} {{ scenario }}

# What can be broken in a file of a core without a test turning red
mutants file:
    cargo mutants --file {{ file }}

# Feeds a target of fuzz/ with random input
fuzz target seconds="600":
    cargo +nightly fuzz run {{ target }} -- -max_total_time={{ seconds }}
