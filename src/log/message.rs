//! What the logs of two shards say to each other, as bytes for the mesh. Between shards of one
//! process: what arrives is what was sent, so bytes that make no sense are a bug of ours.
//!
//! | bytes | settled | report |
//! | --- | --- | --- |
//! | 0 | 1 | 2 |
//! | 1.. | LSN (8) | number of parts (4), then for each: transaction number (8), coordinator (2), LSN of its end (8), participants (2), their shards (2 each) |

use super::Lsn;
use super::commit::{Part, Report, Settled};
use crate::mesh::ShardId;
use crate::txn::TxnId;

const SETTLED: u8 = 1;
const REPORT: u8 = 2;

/// A message between the logs of two shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// To the arbiter.
    Report(Report),
    /// From the arbiter.
    Settled(Settled),
}

impl Message {
    /// Appends it to a batch.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Settled(settled) => {
                into.push(SETTLED);
                into.extend_from_slice(&settled.through.0.to_le_bytes());
            }
            Self::Report(report) => {
                into.push(REPORT);
                into.extend_from_slice(&(report.parts.len() as u32).to_le_bytes());
                for part in &report.parts {
                    into.extend_from_slice(&part.txn.number.to_le_bytes());
                    into.extend_from_slice(&part.txn.coordinator.0.to_le_bytes());
                    into.extend_from_slice(&part.end.0.to_le_bytes());
                    into.extend_from_slice(&(part.participants.len() as u16).to_le_bytes());
                    for shard in &part.participants {
                        into.extend_from_slice(&shard.0.to_le_bytes());
                    }
                }
            }
        }
    }

    /// Takes one off the front of a batch.
    pub fn decode(bytes: &mut &[u8]) -> Self {
        match take::<1>(bytes)[0] {
            SETTLED => Self::Settled(Settled {
                through: Lsn(u64::from_le_bytes(take(bytes))),
            }),
            REPORT => {
                let count = u32::from_le_bytes(take(bytes));
                let parts = (0..count).map(|_| decode_part(bytes)).collect();
                Self::Report(Report { parts })
            }
            other => unreachable!("no message begins with {other}"),
        }
    }
}

fn decode_part(bytes: &mut &[u8]) -> Part {
    let txn = TxnId {
        number: u64::from_le_bytes(take(bytes)),
        coordinator: ShardId(u16::from_le_bytes(take(bytes))),
    };
    let end = Lsn(u64::from_le_bytes(take(bytes)));
    let count = u16::from_le_bytes(take(bytes));
    let participants = (0..count)
        .map(|_| ShardId(u16::from_le_bytes(take(bytes))))
        .collect();
    Part {
        txn,
        participants,
        end,
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("messages are whole");
    *bytes = rest;
    *taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let part = |number| Part {
            txn: TxnId {
                number,
                coordinator: ShardId(500),
            },
            participants: (0..number as u16).map(ShardId).collect(),
            end: Lsn(number << 30),
        };
        let parts = vec![part(2), part(9)];
        let through = Lsn(u64::MAX);
        let messages = [
            Message::Report(Report { parts }),
            Message::Settled(Settled { through }),
        ];
        let mut bytes = Vec::new();
        messages.iter().for_each(|m| m.encode(&mut bytes));
        let mut rest = &bytes[..];
        for message in &messages {
            assert_eq!(Message::decode(&mut rest), *message);
        }
        assert!(rest.is_empty());
    }
}
