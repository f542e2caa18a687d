"""The dashboard page of the reference service: one self-contained document."""

from __future__ import annotations

DASHBOARD = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Staging dashboard</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
</style>
</head>
<body>
<h1>Staging dashboard</h1>
<p id="state" role="status">Loading&hellip;</p>
<table><caption>Answer cache</caption><tbody id="cache"></tbody></table>
<script>
async function refresh() {
  const state = document.getElementById("state");
  try {
    const health = await (await fetch("/health")).json();
    state.textContent = health.ok ? "Healthy, " + health.metrics.requests + " requests" : "Not healthy";
    const answer = await (await fetch("/api/v1/cache/stats")).json();
    const stats = (answer.content || answer).data || {};
    const rows = Object.entries(stats).filter(([, value]) => typeof value !== "object");
    document.getElementById("cache").replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("tr");
      for (const text of [name, value]) row.appendChild(document.createElement("td")).textContent = text;
      return row;
    }));
  } catch (error) {
    state.textContent = "The service does not answer: " + error;
  }
}
refresh();
setInterval(refresh, 5000);
</script>
</body>
</html>
"""
