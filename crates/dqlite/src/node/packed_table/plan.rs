//! Which conditions of a query narrow the ids to read, and in which order.

use std::ffi::{c_int, c_uchar};

use super::sqlite::op;

/// Conditions that a plan takes: two bounds on each of the two columns, and some that say nothing new.
pub const MAX_CONDITIONS: usize = 7;

/// Bits of one condition in a plan's number.
const CONDITION_BITS: usize = 4;

/// A condition on the id or the group of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    pub is_group: bool,
    pub op: Op,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Equal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Condition {
    /// None for a condition that narrows nothing.
    pub fn new(column: c_int, kind: c_uchar) -> Option<Self> {
        let op = match kind {
            op::EQ => Op::Equal,
            op::GT => Op::Above,
            op::GE => Op::AtLeast,
            op::LT => Op::Below,
            op::LE => Op::AtMost,
            _ => return None,
        };
        // Column -1 is the row id, which is the id.
        (-1..=1).contains(&column).then_some(Self {
            is_group: column == 1,
            op,
        })
    }

    fn to_bits(self) -> u32 {
        let op = match self.op {
            Op::Equal => 1,
            Op::Above => 2,
            Op::AtLeast => 3,
            Op::Below => 4,
            Op::AtMost => 5,
        };
        op | u32::from(self.is_group) << 3
    }

    fn from_bits(bits: u32) -> Option<Self> {
        let op = match bits & 7 {
            1 => Op::Equal,
            2 => Op::Above,
            3 => Op::AtLeast,
            4 => Op::Below,
            5 => Op::AtMost,
            _ => return None,
        };
        let is_group = bits & 8 != 0;
        Some(Self { is_group, op })
    }
}

/// A plan as the number that SQLite keeps between planning and running a query: the lowest bit is the order, then come
/// the conditions, in the order of their arguments.
pub fn to_number(is_descending: bool, conditions: &[Condition]) -> c_int {
    let mut number = u32::from(is_descending);
    for (at, condition) in conditions.iter().enumerate() {
        number |= condition.to_bits() << (1 + at * CONDITION_BITS);
    }
    number.cast_signed()
}

/// Reverses [`to_number`].
pub fn from_number(number: c_int) -> (bool, Vec<Condition>) {
    let number = number.cast_unsigned();
    let bits = (0..MAX_CONDITIONS).map(|at| number >> (1 + at * CONDITION_BITS) & 15);
    (
        number & 1 == 1,
        bits.map_while(Condition::from_bits).collect(),
    )
}

/// The ids that may be wanted, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub lowest: i64,
    pub highest: i64,
}

impl Bounds {
    pub const ALL: Self = Self {
        lowest: i64::MIN,
        highest: i64::MAX,
    };

    /// Takes a condition into account.
    pub fn narrow(&mut self, condition: Condition, value: i64, group_bits: u32) {
        let value = i128::from(value);
        // The first and the last id that equal the value.
        let (first, last) = if condition.is_group {
            let first = value << group_bits;
            (first, first | ((1 << group_bits) - 1))
        } else {
            (value, value)
        };
        let (lowest, highest) = match condition.op {
            Op::Equal => (Some(first), Some(last)),
            Op::Above => (Some(last + 1), None),
            Op::AtLeast => (Some(first), None),
            Op::Below => (None, Some(first - 1)),
            Op::AtMost => (None, Some(last)),
        };
        // Beyond 64 bits there is no id: the range is empty.
        if let Some(lowest) = lowest {
            match i64::try_from(lowest) {
                Ok(lowest) => self.lowest = self.lowest.max(lowest),
                Err(_) if lowest > 0 => (self.lowest, self.highest) = (i64::MAX, i64::MIN),
                Err(_) => {}
            }
        }
        if let Some(highest) = highest {
            match i64::try_from(highest) {
                Ok(highest) => self.highest = self.highest.min(highest),
                Err(_) if highest < 0 => (self.lowest, self.highest) = (i64::MAX, i64::MIN),
                Err(_) => {}
            }
        }
    }

    pub fn contain(&self, id: i64) -> bool {
        (self.lowest..=self.highest).contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPS: [Op; 5] = [Op::Equal, Op::Above, Op::AtLeast, Op::Below, Op::AtMost];

    fn condition() -> impl Strategy<Value = Condition> {
        (any::<bool>(), 0..5usize).prop_map(|(is_group, op)| Condition {
            is_group,
            op: OPS[op],
        })
    }

    fn holds(condition: Condition, id: i64, value: i64) -> bool {
        let found = if condition.is_group { id >> 4 } else { id };
        match condition.op {
            Op::Equal => found == value,
            Op::Above => found > value,
            Op::AtLeast => found >= value,
            Op::Below => found < value,
            Op::AtMost => found <= value,
        }
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            -40i64..40,
            any::<i64>(),
            Just(i64::MIN),
            Just(i64::MAX),
            Just(i64::MAX >> 4),
            Just(i64::MIN >> 4)
        ]
    }

    proptest! {
        #[test]
        fn plans_survive_as_numbers(
            is_descending: bool,
            conditions in proptest::collection::vec(condition(), 0..=MAX_CONDITIONS),
        ) {
            let number = to_number(is_descending, &conditions);
            prop_assert_eq!(from_number(number), (is_descending, conditions));
        }

        #[test]
        fn the_bounds_contain_what_the_conditions_let_through_and_nothing_else(
            conditions in proptest::collection::vec((condition(), number()), 0..4),
            id in number(),
        ) {
            let mut bounds = Bounds::ALL;
            for (condition, value) in &conditions {
                bounds.narrow(*condition, *value, 4);
            }
            let is_wanted = conditions.iter().all(|(condition, value)| holds(*condition, id, *value));
            prop_assert_eq!(bounds.contain(id), is_wanted);
        }
    }
}
