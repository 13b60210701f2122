//! Two benchmarks of servers with several workers: what one blocking handler does to other connections, and what an
//! uneven spread of connections does to throughput. Servers and driver share all processors here.

use overlapped_bench::protocol::{Load, Placement as Wanted};

use crate::options::Options;
use crate::process::{Cores, Driver, Server, plain_load};
use crate::report::{BlockingResult, ImbalanceResult, median};
use crate::servers::Placement;

const BLOCKING_CONNECTIONS: u32 = 64;
const IMBALANCE_CONNECTIONS: u32 = 16;
const MESSAGE_SIZE: u32 = 64;

/// One message in some hundred blocks its handler; reported is the latency of the others.
pub fn blocking(options: &Options) -> anyhow::Result<Vec<BlockingResult>> {
    eprintln!("1 handler in {} blocks for {} ms, {} workers", options.slow_every, options.slow_ms, options.workers);
    let extra = [format!("--workers={}", options.workers), format!("--slow-ms={}", options.slow_ms)];
    // Long enough for many handlers to block, or for the processors' scheduler to settle.
    let round_ms = options.round_ms.unwrap_or(if options.quick { 250 } else { 1000 });
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 11 });
    let mut runs = Vec::new();
    for contender in options.contenders()? {
        let server = Server::start(&contender, &extra, Cores::SHARED.servers)?;
        let load = Load {
            slow_every: options.slow_every,
            spin: false,
            workers: options.workers,
            ..plain_load(&server, options.connections.unwrap_or(BLOCKING_CONNECTIONS), MESSAGE_SIZE, 1)
        };
        let driver = Driver::start(&server, &load, Cores::SHARED.drivers)?;
        runs.push((server, driver, Vec::new()));
    }
    let mut order: Vec<usize> = (0..runs.len()).collect();
    let mut random = fastrand::Rng::with_seed(options.seed);
    for _ in 0..rounds {
        random.shuffle(&mut order);
        for &index in &order {
            let (_, driver, seen) = &mut runs[index];
            seen.push(driver.round(round_ms)?);
        }
    }
    let results = runs.into_iter().map(|(server, _, rounds)| {
        let middle = |value: &dyn Fn(&_) -> f64| median(rounds.iter().map(value).collect());
        BlockingResult {
            server: server.name.clone(),
            messages_per_second: middle(&|round: &overlapped_bench::protocol::Round| {
                round.messages as f64 * 1e9 / round.elapsed_ns as f64
            }),
            p50_us: middle(&|round| round.p50_ns as f64 / 1e3),
            p99_us: middle(&|round| round.p99_ns as f64 / 1e3),
            p999_us: middle(&|round| round.p999_ns as f64 / 1e3),
        }
    });
    Ok(results.collect())
}

/// All busy connections on one worker, in turn with as many spread evenly. Where the server chooses a worker for each
/// receive, there is no such skew to make, and both are the same load.
pub fn imbalance(options: &Options) -> anyhow::Result<Vec<ImbalanceResult>> {
    eprintln!("all connections on one of {} workers, {} µs of work per message", options.workers, options.work_us);
    let extra = [format!("--workers={}", options.workers), format!("--work-us={}", options.work_us)];
    // Long enough for many handlers to block, or for the processors' scheduler to settle.
    let round_ms = options.round_ms.unwrap_or(if options.quick { 250 } else { 1000 });
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 11 });
    let mut runs = Vec::new();
    for contender in options.contenders()? {
        let server = Server::start(&contender, &extra, Cores::SHARED.servers)?;
        let start = |placement| {
            let load = Load {
                placement,
                workers: options.workers,
                ..plain_load(&server, options.connections.unwrap_or(IMBALANCE_CONNECTIONS), MESSAGE_SIZE, 1)
            };
            Driver::start(&server, &load, Cores::SHARED.drivers)
        };
        let drivers = match contender.kind.placement {
            Placement::AtArrival => [start(Wanted::One)?, start(Wanted::Even)?],
            Placement::EachReceive => [start(Wanted::Any)?, start(Wanted::Any)?],
        };
        runs.push((server, contender.kind.placement, drivers, Vec::new()));
    }
    let mut order: Vec<(usize, usize)> = (0..runs.len()).flat_map(|run| [(run, 0), (run, 1)]).collect();
    let mut random = fastrand::Rng::with_seed(options.seed);
    for _ in 0..rounds {
        random.shuffle(&mut order);
        let mut rates = vec![[0.0; 2]; runs.len()];
        for &(run, which) in &order {
            let round = runs[run].2[which].round(round_ms)?;
            rates[run][which] = round.messages as f64 * 1e9 / round.elapsed_ns as f64;
        }
        for (run, rates) in runs.iter_mut().zip(rates) {
            run.3.push(rates);
        }
    }
    let results = runs.into_iter().map(|(server, placement, _, rates)| {
        let middle = |value: &dyn Fn(&[f64; 2]) -> f64| median(rates.iter().map(value).collect());
        ImbalanceResult {
            server: server.name.clone(),
            skew_can_be_made: placement == Placement::AtArrival,
            skewed_messages_per_second: middle(&|rates| rates[0]),
            even_messages_per_second: middle(&|rates| rates[1]),
            skewed_to_even: middle(&|rates| rates[0] / rates[1]),
        }
    });
    Ok(results.collect())
}
