//! The main benchmark: servers take short turns in random order, and each turn is compared with the baseline's turn of
//! the same round. What disturbs the machine for longer than a round disturbs both, and falls out of the ratio.

use std::time::Duration;

use anyhow::Context;

use crate::options::{Options, Scenario};
use crate::process::{Cores, Driver, Server, plain_load};
use crate::report::{Failure, PairedScenario, Turn};
use crate::servers::Contender;

pub fn run(options: &Options) -> anyhow::Result<Vec<PairedScenario>> {
    let contenders = options.contenders()?;
    let cores = Cores::apart()?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut results = Vec::new();
    for scenario in options.scenarios() {
        eprintln!("{}", scenario.title());
        let result = measure(options, &contenders, scenario, cores, &mut random).with_context(|| scenario.title())?;
        results.push(result);
    }
    Ok(results)
}

struct Pair {
    driver: Driver,
    server: Server,
    turns: Vec<Turn>,
}

impl Pair {
    fn start(contender: &Contender, scenario: Scenario, cores: Cores) -> anyhow::Result<Pair> {
        let server = Server::start(contender, &[], cores.servers)?;
        let mut load = plain_load(&server, scenario.connections, scenario.size, scenario.pipeline);
        load.spin = cores.drivers.is_some();
        let driver = Driver::start(&server, &load, cores.drivers)?;
        Ok(Pair { driver, server, turns: Vec::new() })
    }

    fn turn(&mut self, millis: u64) -> anyhow::Result<Turn> {
        let waited_before = self.kept_waiting()?;
        let cpu_before = self.server.processor_time()?;
        let round = self.driver.round(millis)?;
        let server_cpu = self.server.processor_time()? - cpu_before;
        // Threads may have come meanwhile, and then nothing is said about waiting any more.
        let waited = self.kept_waiting()?.saturating_sub(waited_before);
        Ok(Turn::new(round, server_cpu, waited))
    }

    fn kept_waiting(&self) -> anyhow::Result<Duration> {
        Ok(self.server.kept_waiting()? + self.driver.kept_waiting()?)
    }
}

/// How many rounds there may be for one that is wanted, where other programs disturb some.
const TRIES_PER_ROUND: usize = 3;

fn measure(
    options: &Options,
    contenders: &[Contender],
    scenario: Scenario,
    cores: Cores,
    random: &mut fastrand::Rng,
) -> anyhow::Result<PairedScenario> {
    let round_ms = options.round_ms(scenario.connections);
    let takes_part = |contender: &&Contender| scenario.connections <= contender.kind.most_connections;
    let mut turns: Vec<(&Contender, Vec<Turn>)> =
        contenders.iter().filter(takes_part).map(|it| (it, Vec::new())).collect();
    let mut failed = Vec::new();
    for rounds in options.rounds_by_start() {
        let mut pairs = start(&turns, scenario, cores, round_ms, &mut failed);
        take_turns(&mut pairs, rounds, round_ms, random, &mut failed);
        // One that has failed leaves; the others go on without it.
        turns.retain(|(contender, _)| failed.iter().all(|failure| failure.server != contender.name));
        for pair in pairs {
            if let Some((_, turns)) = turns.iter_mut().find(|(contender, _)| contender.name == pair.server.name) {
                turns.extend(pair.turns);
            }
        }
    }
    let turns = turns.into_iter().map(|(contender, turns)| (contender.name.clone(), turns)).collect();
    Ok(PairedScenario::new(scenario, round_ms, turns, failed, &options.baseline))
}

/// Starts all servers, each with its driver, and lets them warm up.
fn start(
    contenders: &[(&Contender, Vec<Turn>)],
    scenario: Scenario,
    cores: Cores,
    round_ms: u64,
    failed: &mut Vec<Failure>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (contender, _) in contenders {
        let warmed_up = Pair::start(contender, scenario, cores).and_then(|mut pair| {
            pair.turn(round_ms)?;
            Ok(pair)
        });
        match warmed_up {
            Ok(pair) => pairs.push(pair),
            Err(error) => failed.push(Failure::new(&contender.name, &error)),
        }
    }
    pairs
}

/// So many undisturbed rounds, or what comes of three times as many.
fn take_turns(
    pairs: &mut Vec<Pair>,
    rounds: usize,
    round_ms: u64,
    random: &mut fastrand::Rng,
    failed: &mut Vec<Failure>,
) {
    for round in 0..rounds * TRIES_PER_ROUND {
        if round >= rounds && fewest_undisturbed(pairs) >= rounds {
            break;
        }
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            match pairs[index].turn(round_ms) {
                Ok(turn) => pairs[index].turns.push(turn),
                Err(error) => failed.push(Failure::new(&pairs[index].server.name, &error)),
            }
        }
        pairs.retain(|pair| failed.iter().all(|failure| failure.server != pair.server.name));
    }
}

fn fewest_undisturbed(pairs: &[Pair]) -> usize {
    let undisturbed = |pair: &Pair| pair.turns.iter().filter(|turn| !turn.disturbed).count();
    pairs.iter().map(undisturbed).min().unwrap_or(0)
}
