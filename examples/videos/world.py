"""A made-up world of videos and of users who look at them. Nobody real is in it; the same seed gives the same world.

What the model may know of a candidate is in ``candidates``. What it may not know, how a user really decides, is in
``looks_at``: taste, quality, and a weakness for clickbait. Tastes move with the weeks, so an old model gets worse.
"""

from datetime import UTC, datetime, timedelta

import numpy as np

TOPICS = ("music", "news", "sport", "science", "games", "cooking")
TRUSTED = ("channel-0", "channel-1", "channel-2")  # of twelve, chosen by the editors
EPOCH = datetime(2025, 11, 1, tzinfo=UTC)  # the world begins
USERS, VIDEOS, CANDIDATES = 300, 400, 14
PATIENCE = 0.93  # the chance that a user who looked at one place of the list looks at the next too


class World:
    """Its videos are fixed; each day has its own visits."""

    def __init__(self, seed: int = 1):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.topic = rng.integers(0, len(TOPICS), VIDEOS)
        self.channel = rng.integers(0, 12, VIDEOS)
        self.quality = rng.normal(0, 0.8, VIDEOS)
        self.clickbait = np.round(rng.beta(0.6, 2.0, VIDEOS), 3)  # as a classifier of titles would score them
        self.toxicity = np.round(rng.beta(0.5, 6.0, VIDEOS), 3)  # as a classifier of comments would
        self.minutes = np.round(rng.gamma(2.0, 4.0, VIDEOS) + 0.5, 1)
        self.taste = rng.normal(0, 1.2, (USERS, len(TOPICS)))
        self.drift = rng.normal(0, 0.08, (USERS, len(TOPICS)))  # by the week

    def visits(self, day: datetime, count: int):
        """The visits of a day: when, by whom, and which videos could be shown."""
        number = (day - EPOCH).days
        rng = np.random.default_rng([self.seed, 7, number])
        seconds = np.sort(rng.integers(0, 86_400, count))
        for n, second in enumerate(seconds.tolist()):
            videos = rng.choice(VIDEOS, CANDIDATES, replace=False)
            yield f"{number}-{n}", day + timedelta(seconds=second), int(rng.integers(USERS)), videos

    def candidates(self, visit: str, at: datetime, user: int, videos) -> list[dict]:
        """The rows of a visit's request: one for each video that could be shown."""
        taste = self._taste(user, at - timedelta(days=1))  # as it showed in what the user did until yesterday
        return [
            {
                "visit": visit,
                "video": f"v{video}",
                "shown_at": at,
                "channel": f"channel-{self.channel[video]}",
                "topic": TOPICS[self.topic[video]],
                "minutes": float(self.minutes[video]),
                "taste": round(float(taste[self.topic[video]]), 3),
                "clickbait": float(self.clickbait[video]),
                "toxicity": float(self.toxicity[video]),
                "is_trusted": f"channel-{self.channel[video]}" in TRUSTED,
            }
            for video in videos
        ]

    def looks_at(self, visit: str, at: datetime, user: int, shown: list[str]) -> dict[str, bool]:
        """What a user does with a list, from its top: for each video that was looked at, whether it was clicked."""
        rng = np.random.default_rng([self.seed, 11, *map(int, visit.split("-"))])
        taste = self._taste(user, at)
        done = {}
        for name in shown:
            video = int(name.removeprefix("v"))
            odds = -2.2 + taste[self.topic[video]] + self.quality[video] + 2.0 * self.clickbait[video]
            done[name] = bool(rng.random() < 1 / (1 + np.exp(-odds)))
            if rng.random() > PATIENCE:
                break
        return done

    def _taste(self, user: int, at: datetime):
        return self.taste[user] + self.drift[user] * ((at - EPOCH).days / 7)
