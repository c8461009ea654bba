//! "Why this figure", in plain English and Korean. Only facts of the computation; the texts are part
//! of the statement, so they are deterministic like the rest of it.

use konclave_crypto::RoundNumber;

use super::amount::Amount;
use super::ratio::Ratio;
use super::statement::Reason;

/// What a line's reason tells.
pub(super) struct LineFacts<'a> {
    pub(super) legal_entity: &'a str,
    pub(super) currency: &'a str,
    pub(super) amount: Amount,
    pub(super) value_amount: Amount,
    pub(super) participation_amount: Amount,
    pub(super) scoring_round: Option<RoundNumber>,
    pub(super) batches_scored: usize,
    pub(super) batches: &'a [BatchPart],
    pub(super) rounds: usize,
    pub(super) all_rounds: usize,
}

/// A legal entity's part in one batch.
pub(super) struct BatchPart {
    pub(super) index: usize,
    pub(super) sites: usize,
    pub(super) value: Ratio,
    pub(super) share_ppm: u32,
    pub(super) has_evidence: bool,
}

pub(super) fn line(facts: &LineFacts<'_>) -> Reason {
    let LineFacts { legal_entity, currency, amount, value_amount, participation_amount, .. } = facts;
    let mut text = Text::default();
    text.say(
        format!(
            "{legal_entity} is paid {amount} {currency}: {value_amount} for value and \
             {participation_amount} for participation."
        ),
        format!(
            "{legal_entity}에 지급되는 금액은 {amount} {currency}입니다. 기여 가치 몫은 {value_amount}, \
             참여 몫은 {participation_amount}입니다."
        ),
    );
    match facts.scoring_round {
        None => text.say(
            "No scoring round was held in this job, so no value was measured.".to_owned(),
            "이 작업에서는 채점 라운드가 없어 기여 가치를 측정하지 못했습니다.".to_owned(),
        ),
        Some(round) if facts.batches.is_empty() => text.say(
            format!("No batch with one of its sites was opened in scoring round {round}, so no value was measured."),
            format!("채점 라운드 {round}에서 이 법인의 사이트가 속한 배치가 공개되지 않아 기여 가치를 측정하지 못했습니다."),
        ),
        Some(round) => {
            for part in facts.batches {
                tell_batch(&mut text, part, round, facts.batches_scored);
            }
            text.say(
                "The value is provisional: one partition into batches cannot tell the sites of a batch apart, \
                 so a batch's value is divided by evidence (rounds taken part in and deposited data)."
                    .to_owned(),
                "이 값은 잠정치입니다. 한 번의 배치 구성만으로는 같은 배치에 속한 사이트를 구별할 수 없으므로, \
                 배치의 가치를 증거(참여한 라운드와 기탁 데이터)에 따라 나누었습니다."
                    .to_owned(),
            );
        }
    }
    let (rounds, all) = (facts.rounds, facts.all_rounds);
    text.say(
        format!("Its updates are in the sums of {rounds} rounds; over all legal entities these counts add up to {all}."),
        format!("이 법인의 업데이트는 {rounds}개 라운드의 합계에 포함되었으며, 모든 법인의 참여 횟수를 더하면 {all}회입니다."),
    );
    text.reason
}

fn tell_batch(text: &mut Text, part: &BatchPart, round: RoundNumber, batches: usize) {
    let BatchPart { index, sites, .. } = part;
    let value = score(part.value);
    text.say(
        format!(
            "In scoring round {round}, batch {index} ({sites} sites) changed the benchmark score by {value} \
             (exact Shapley value among {batches} batches)."
        ),
        format!(
            "채점 라운드 {round}에서 배치 {index}(사이트 {sites}곳)의 벤치마크 점수 변화는 {value}입니다\
             (배치 {batches}개에 대한 정확한 섀플리 값)."
        ),
    );
    if part.value.numerator() <= 0 {
        text.say(
            "A batch that does not raise the score is paid nothing for value.".to_owned(),
            "점수를 높이지 못한 배치에는 기여 가치 몫이 지급되지 않습니다.".to_owned(),
        );
    }
    if part.has_evidence {
        let share = format!("{}.{:04}", part.share_ppm / 10_000, part.share_ppm % 10_000);
        text.say(
            format!("The legal entity holds {share} % of that batch's evidence."),
            format!("이 배치의 증거 중 이 법인의 비중은 {share}%입니다."),
        );
    } else {
        text.say(
            "The legal entity has no evidence in that batch: it deposited no data that counts.".to_owned(),
            "이 법인은 인정되는 기탁 데이터가 없어 이 배치에서 증거가 없습니다.".to_owned(),
        );
    }
}

/// Why parts of the budget go back; at least one of the two amounts is above zero.
pub(super) fn returned(
    value: Amount,
    participation: Amount,
    scoring_round: Option<RoundNumber>,
    budget_holder: &str,
    currency: &str,
) -> Reason {
    let mut text = Text::default();
    if value > Amount::ZERO {
        let (en, ko) = match scoring_round {
            None => ("no scoring round was held".to_owned(), "채점 라운드가 없었으므로".to_owned()),
            Some(round) => (
                format!("in scoring round {round} no batch with evidence raised the benchmark score"),
                format!("채점 라운드 {round}에서 증거가 있는 배치 중 벤치마크 점수를 높인 배치가 없었으므로"),
            ),
        };
        text.say(
            format!("{value} {currency}, the value part, goes back to {budget_holder}: {en}."),
            format!("{ko} 기여 가치 몫 {value} {currency} 전액을 {budget_holder}에 반환합니다."),
        );
    }
    if participation > Amount::ZERO {
        text.say(
            format!("{participation} {currency}, the participation part, goes back to {budget_holder}: nobody took part in a round."),
            format!("라운드에 참여한 법인이 없었으므로 참여 몫 {participation} {currency} 전액을 {budget_holder}에 반환합니다."),
        );
    }
    text.reason
}

/// A text that grows by sentences.
struct Text {
    reason: Reason,
}

impl Default for Text {
    fn default() -> Self {
        Self { reason: Reason { en: String::new(), ko: String::new() } }
    }
}

impl Text {
    fn say(&mut self, en: String, ko: String) {
        for (text, sentence) in [(&mut self.reason.en, en), (&mut self.reason.ko, ko)] {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&sentence);
        }
    }
}

/// A value in millionths as a signed decimal, to the nearest millionth.
fn score(value: Ratio) -> String {
    let Some(micro) = value.round() else { return format!("{value} x 10^-6") };
    let sign = if micro < 0 { "-" } else { "+" };
    let magnitude = micro.unsigned_abs();
    format!("{sign}{}.{:06}", magnitude / 1_000_000, magnitude % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_read_as_signed_decimals() {
        let of = |above, below| score(Ratio::new(above, below).unwrap());
        assert_eq!(
            [of(12_345, 1), of(-1, 1), of(0, 1), of(7, 2)].join(" "),
            "+0.012345 -0.000001 +0.000000 +0.000004"
        );
        assert_eq!(of(-2_500_000, 1), "-2.500000");
    }
}
