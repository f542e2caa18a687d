"""What the three analysers say: deterministic, the observed fields, hand-checkable figures."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from loadgate.staging.creative import generate_creative
from loadgate.staging.emotion import analyze_emotion
from loadgate.staging.reasoning import verify_reasoning


def test_a_text_without_known_words_gets_the_observed_default():
    """No keyword means joy, neutral, intensity 0.5, literal, confidence 0.3."""
    analysis = analyze_emotion("The table has four legs")["analysis"]
    assert analysis["primary"] == "joy"
    assert analysis["secondary"] == []
    assert analysis["sentiment"] == "neutral"
    assert analysis["intensity"] == 0.5
    assert analysis["nuance"] == "literal"
    assert analysis["confidence"] == 0.3


def test_keywords_decide_the_emotion_in_other_languages_too():
    """Each language's words count."""
    for text, primary, sentiment in [
        ("I am happy", "joy", "positive"),
        ("je suis triste", "sadness", "negative"),
        ("estoy furioso", "anger", "negative"),
        ("ich habe angst", "fear", "negative"),
    ]:
        analysis = analyze_emotion(text)["analysis"]
        assert (analysis["primary"], analysis["sentiment"]) == (primary, sentiment)


def test_a_negation_turns_the_sentiment():
    """ "not happy" is negative."""
    assert analyze_emotion("I am not happy")["analysis"]["sentiment"] == "negative"


def test_the_arc_compares_the_first_and_the_last_sentence():
    """From sad to happy is rising and starts negative."""
    assert analyze_emotion("I was sad. Now I am happy.")["analysis"]["sentimentArc"] == {
        "arc": "rising",
        "startSentiment": "negative",
    }


def test_a_balanced_style_gives_four_variations_by_four_techniques():
    """Four variations, all techniques distinct: diversity 4/4."""
    data = generate_creative("a garden")
    assert len(data["variations"]) == 4
    assert data["diversityScore"] == 1.0
    assert data["generationMetadata"]["techniqueCount"] == 4
    assert data["domainBrainstorm"] is None


def test_domains_bring_a_brainstorm_and_cycles_more_variations():
    """One idea per domain; three cycles add two variations."""
    data = generate_creative("a garden", "bold", ["music", "sailing"], 3)
    assert [idea["domain"] for idea in data["domainBrainstorm"]] == ["music", "sailing"]
    assert len(data["variations"]) == 5 + 2
    assert data["generationMetadata"]["enhancedNovelty"] is True


def test_sentences_become_the_logical_chain():
    """Each sentence is a step; "Therefore" marks the conclusion."""
    data = verify_reasoning("All men are mortal. Socrates is a man. Therefore Socrates is mortal.")
    assert [step["type"] for step in data["logicalChain"]] == ["statement", "statement", "conclusion"]
    assert data["strength"]["chainLength"] == 3
    assert data["overallAssessment"]["isValid"] is True


def test_fallacy_words_are_found_and_cost_strength():
    """One bandwagon in two sentences: 0.9 - 0.2 = 0.7."""
    data = verify_reasoning("Everyone knows it works. So we use it.")
    assert [fallacy["type"] for fallacy in data["fallacyDetection"]] == ["bandwagon"]
    assert data["strength"]["score"] == 0.7
    assert data["overallAssessment"]["isValid"] is False


def test_a_premise_that_repeats_the_conclusion_is_a_circle():
    """The second premise has the conclusion's words."""
    data = verify_reasoning("It rains. The street is wet.", ["Clouds are grey", "the street is WET"])
    assert data["circularDependencies"]["hasCycles"] is True
    assert data["circularDependencies"]["cycles"] == [2]
    assert data["premiseValidation"]["count"] == 2


def test_statements_that_differ_in_a_not_contradict():
    """ "The door is open" against "The door is not open"."""
    consistency = verify_reasoning("The door is open. The door is not open.")["consistency"]
    assert consistency["consistent"] is False
    assert consistency["consistencyScore"] == 0.5


@given(st.text())
def test_any_text_gets_the_same_json_each_time(text: str):
    """Analysers never fail and are pure; lone surrogates cannot come in through JSON."""
    text = text.encode("utf-8", "ignore").decode()
    for analyse in (analyze_emotion, generate_creative, verify_reasoning):
        assert orjson.dumps(analyse(text)) == orjson.dumps(analyse(text))
