//! What the threads of a warp do together: barriers, shuffles, votes, reductions.

use super::lanes::{LANES, Row, each};
use super::{Block, Next, failed, holds, put};
use crate::fault::Result;
use crate::program::{Op, Reduction, Reg, Shuffle, Vote};

impl Block<'_> {
    /// Threads with the same list of members wait for each other, and then do it.
    pub(super) fn together(
        &mut self,
        index: usize,
        op: &Op,
        mask: u32,
        active: u32,
        pc: usize,
        members: Reg,
    ) -> Result<Next> {
        let (mut left, mut done) = (active, 0);
        while left != 0 {
            let warp = &mut self.warps[index];
            let first = left.trailing_zeros();
            let list = warp.rows[usize::from(members)][first as usize] as u32;
            if list >> first & 1 == 0 {
                self.at.thread = Some(warp.thread(first as usize));
                return Err(failed(format!(
                    "a thread is not among the members {list:#010x} that it names itself"
                )));
            }
            let same = each(left).fold(0u32, |same, lane| {
                same | u32::from(warp.rows[usize::from(members)][lane] as u32 == list) << lane
            });
            let wanted = list & warp.live;
            left &= !same;
            if wanted & !same == 0 {
                self.now(index, op, wanted);
                done |= wanted;
                continue;
            }
            warp.held |= same;
            let here = each(warp.held).fold(0u32, |here, lane| {
                let stands = warp.pc[lane] == pc as u32 || same >> lane & 1 == 1;
                here | u32::from(stands) << lane
            });
            if wanted & !here == 0 {
                warp.held &= !wanted;
            }
        }
        if done == mask {
            return Ok(Next::On);
        }
        let warp = &mut self.warps[index];
        for lane in each(mask) {
            let stays = active >> lane & 1 == 1 && done >> lane & 1 == 0;
            warp.pc[lane] = pc as u32 + u32::from(!stays);
        }
        Ok(Next::Again)
    }

    fn now(&mut self, index: usize, op: &Op, group: u32) {
        let warp = &mut self.warps[index];
        warp.sync += 1;
        match *op {
            Op::Shuffle { how, d, p, a, b, c, .. } => {
                let (a, b, c) =
                    (warp.rows[usize::from(a)], warp.rows[usize::from(b)], warp.rows[usize::from(c)]);
                let mut in_range = 0;
                for lane in each(group) {
                    let (source, found) = source(how, lane as u32, b[lane] as u32, c[lane] as u32);
                    in_range |= u32::from(found) << lane;
                    // What a thread holds that does not take part is not specified: it shows.
                    let takes_part = group >> source & 1 == 1;
                    warp.rows[usize::from(d)][lane] =
                        if takes_part { a[source as usize] & 0xffff_ffff } else { 0xffff_ffff };
                }
                put(warp, p, group, in_range);
            }
            Op::Vote { how, d, by, .. } => {
                let yes = holds(warp, by) & group;
                let answer = match how {
                    Vote::Any => yes != 0,
                    Vote::All => yes == group,
                    Vote::Uniform => yes == 0 || yes == group,
                    Vote::Ballot => {
                        for lane in each(group) {
                            warp.rows[usize::from(d)][lane] = u64::from(yes);
                        }
                        return;
                    }
                };
                put(warp, d, group, if answer { u32::MAX } else { 0 });
            }
            Op::Match { all, wide, d, a, .. } => {
                let a = warp.rows[usize::from(a)].map(|bits| if wide { bits } else { bits & 0xffff_ffff });
                let equal = |lane: usize| {
                    each(group).fold(0u64, |equal, other| equal | u64::from(a[other] == a[lane]) << other)
                };
                let answers: Row = std::array::from_fn(equal);
                let uniform = each(group).all(|lane| answers[lane] == u64::from(group));
                for lane in each(group) {
                    warp.rows[usize::from(d)][lane] = match all {
                        Some(_) => {
                            if uniform {
                                u64::from(group)
                            } else {
                                0
                            }
                        }
                        None => answers[lane],
                    };
                }
                if let Some(p) = all {
                    put(warp, p, group, if uniform { u32::MAX } else { 0 });
                }
            }
            Op::Reduce { how, d, a, .. } => {
                let a = warp.rows[usize::from(a)].map(|bits| bits as u32);
                let result = each(group).map(|lane| a[lane]).reduce(|x, y| match how {
                    Reduction::Add => x.wrapping_add(y),
                    Reduction::MinU => x.min(y),
                    Reduction::MaxU => x.max(y),
                    Reduction::MinS => (x as i32).min(y as i32) as u32,
                    Reduction::MaxS => (x as i32).max(y as i32) as u32,
                    Reduction::And => x & y,
                    Reduction::Or => x | y,
                    Reduction::Xor => x ^ y,
                });
                for lane in each(group) {
                    warp.rows[usize::from(d)][lane] = u64::from(result.unwrap_or(0));
                }
            }
            _ => {}
        }
    }
}

/// Whom a lane reads from, and whether that is within its segment; where not it reads itself.
fn source(how: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (source, found) = match how {
        Shuffle::Up => {
            let source = lane as i32 - b as i32;
            (source as u32, source >= most as i32)
        }
        Shuffle::Down => (lane + b, lane + b <= most),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= most),
        Shuffle::Index => {
            let source = least | (b & !segment & 31);
            (source, source <= most)
        }
    };
    let found = found && source < LANES as u32;
    (if found { source } else { lane }, found)
}
