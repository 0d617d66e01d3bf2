//! A run: one database, some hundred steps by chance, and a quiet end.

use super::check::check;
use super::figures::Figures;
use super::life::Life;
use super::mutations::Mutant;
use super::world::World;
use crate::violation::Checked;

const STEP_COUNT: u64 = 500;

type Act = fn(&mut Life) -> Checked<()>;

/// What may happen next.
struct Choice {
    name: &'static str,
    /// How often, relative to the others: each run takes one of these numbers.
    rates: [u64; 3],
    /// `None`: power is lost.
    act: Option<Act>,
}

const fn often(name: &'static str, act: Act) -> Choice {
    Choice { name, rates: [10, 30, 90], act: Some(act) }
}

const MENU: [Choice; 17] = [
    often("stage", Life::stage),
    often("apply", Life::apply),
    often("settle", Life::settle),
    often("evacuate", Life::evacuate),
    often("checkpoint", Life::checkpoint),
    often("retain", Life::retain),
    often("clear", Life::clear),
    often("steal", Life::steal),
    often("pin", Life::pin),
    often("sweep", Life::sweep),
    often("hold", Life::hold),
    often("forget", Life::forget),
    Choice { name: "jumbo", rates: [2, 5, 15], act: Some(Life::jumbo) },
    Choice { name: "ahead", rates: [7, 20, 60], act: Some(Life::ahead) },
    Choice { name: "refuse", rates: [3, 9, 27], act: Some(Life::refuse) },
    Choice { name: "rest", rates: [1; 3], act: Some(Life::rest) },
    Choice { name: "power is lost", rates: [2, 6, 15], act: None },
];

/// Runs the database of `seed` by the rule or a mutation of it; `trace` gets each step and what
/// happens in it.
pub fn run(seed: u64, mutant: Option<&Mutant>, trace: &dyn Fn(u64, &str)) -> Checked<Figures> {
    let mut world = World::new(seed, mutant.map(|mutant| mutant.mutation));
    let rates = MENU.each_ref().map(|choice| world.pick(&choice.rates));
    let mut life = Life::open(world)?;
    for step in 0..STEP_COUNT {
        let mut left = life.database.world.random.below(rates.iter().sum());
        let chosen = MENU.iter().zip(rates).find(|(_, rate)| {
            let found = left < *rate;
            left = left.saturating_sub(*rate);
            found
        });
        let choice = chosen.expect("the number is below the sum of the rates").0;
        trace(step, choice.name);
        match choice.act {
            Some(act) => act(&mut life)?,
            None => life = Life::open(life.database.lose_power())?,
        }
        check(&life.database)?;
    }
    life = Life::open(life.database.lose_power())?;
    life.rest()?;
    check(&life.database)?;
    Ok(life.database.world.figures)
}
