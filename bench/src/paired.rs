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
        let load = plain_load(&server, scenario.connections, scenario.size, scenario.pipeline);
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
    let mut pairs = Vec::new();
    let mut failed = Vec::new();
    let round_ms = options.round_ms(scenario.connections);
    for contender in contenders {
        if scenario.connections > contender.kind.most_connections {
            continue;
        }
        let warmed_up = Pair::start(contender, scenario, cores).and_then(|mut pair| {
            pair.turn(round_ms)?;
            Ok(pair)
        });
        match warmed_up {
            Ok(pair) => pairs.push(pair),
            Err(error) => failed.push(Failure::new(&contender.name, &error)),
        }
    }
    for round in 0..options.rounds() * TRIES_PER_ROUND {
        if round >= options.rounds() && fewest_undisturbed(&pairs) >= options.rounds() {
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
        // One that has failed leaves; the others go on without it.
        pairs.retain(|pair| failed.iter().all(|failure| failure.server != pair.server.name));
    }
    let turns = pairs.into_iter().map(|pair| (pair.server.name.clone(), pair.turns)).collect();
    Ok(PairedScenario::new(scenario, round_ms, turns, failed, &options.baseline))
}

fn fewest_undisturbed(pairs: &[Pair]) -> usize {
    let undisturbed = |pair: &Pair| pair.turns.iter().filter(|turn| !turn.disturbed).count();
    pairs.iter().map(undisturbed).min().unwrap_or(0)
}
