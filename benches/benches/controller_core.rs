//! The controller's decisions in a large cluster: time, and memory for each Service.
//!
//! Run with `cargo bench -p benches --bench controller_core`. The figures in docs/performance.md come from here.

use std::hint::black_box;

use benches::cluster::{SLASH_16, SLASH_64, resources, service, service_with_address, two_views};
use benches::controlled::Controlled;
use controller_core::{Controller, Input, Settings};
use divan::{AllocProfiler, Bencher};
use ferrolb_api::Time;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Every Service of a new cluster gets its address, one after the other.
#[divan::bench(args = [(1_000, SLASH_16), (10_000, SLASH_16), (1_000, SLASH_64), (10_000, SLASH_64)], sample_count = 10)]
fn allocate_all(bencher: Bencher<'_, '_>, (count, addresses): (usize, &str)) {
    bencher
        .with_inputs(|| {
            let services: Vec<_> = (0..count).map(|number| service(number, addresses)).collect();
            (Controlled::start(resources(addresses), Vec::new()), services)
        })
        .bench_local_values(|(mut cluster, services)| {
            services.into_iter().for_each(|service| cluster.apply(service));
            assert_eq!(cluster.served(), count, "every Service has an address");
            cluster
        });
}

/// A controller starts in a cluster where every Service has its address.
#[divan::bench(args = [1_000, 10_000], sample_count = 10)]
fn restart(bencher: Bencher<'_, '_>, count: usize) {
    bencher
        .with_inputs(|| (resources(SLASH_16), (0..count).map(service_with_address).collect::<Vec<_>>()))
        .bench_local_values(|(resources, services)| {
            let mut controller = Controller::new(Settings::default());
            controller.handle(Time::ZERO, Input::Resources(resources));
            controller.handle(Time::ZERO, Input::Services(services));
            while let Some(effect) = controller.poll_effect() {
                black_box(effect);
            }
            controller
        });
}

/// One Service comes, gets its address and goes again, beside many others.
#[divan::bench(args = [100, 1_000, 10_000])]
fn one_service_comes_and_goes(bencher: Bencher<'_, '_>, others: usize) {
    let held = (0..others).map(service_with_address).collect();
    let mut cluster = Controlled::start(resources(SLASH_16), held);
    let newcomer = service(60_000, SLASH_16);
    bencher.bench_local(|| {
        cluster.apply(newcomer.clone());
        cluster.delete(&newcomer.key);
    });
    assert_eq!(cluster.served(), others, "the others keep their addresses");
}

/// One Service is changed in a way that changes nothing for it.
#[divan::bench(args = [100, 1_000, 10_000])]
fn one_service_changes(bencher: Bencher<'_, '_>, others: usize) {
    let held = (0..others).map(service_with_address).collect();
    let mut cluster = Controlled::start(resources(SLASH_16), held);
    let views = two_views(50);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        cluster.apply(views[turn % 2].clone());
    });
}

/// What a controller keeps of its Services: the column "max alloc" divided by their number.
#[divan::bench(args = [1_000, 10_000], sample_count = 3)]
fn memory(count: usize) -> Controlled {
    // The store of `Controlled` is empty: only the controller's own memory counts.
    let mut cluster = Controlled::start(resources(SLASH_16), Vec::new());
    (0..count).for_each(|number| cluster.tell(Input::Service(Box::new(service_with_address(number)))));
    cluster
}
