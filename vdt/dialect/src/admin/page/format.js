// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export const count = (number) => whole.format(number ?? 0);

/** `1 file`, `2 files`. */
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function bytes(number) {
  let value = number ?? 0;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? whole.format(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A share of 0 to 1. Never 100 % or 0 % unless it is. */
export function percent(share) {
  if (share > 0.999 && share < 1) return "99.9 %";
  if (share > 0 && share < 0.001) return "0.1 %";
  const value = share * 100;
  return `${value === 100 || value === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} %`;
}

export function seconds(number) {
  if (number < 60) return `${Math.round(number)} s`;
  if (number < 3600) return `${Math.floor(number / 60)} min`;
  if (number < 172_800) return `${Math.floor(number / 3600)} h`;
  return `${Math.floor(number / 86_400)} d`;
}

/** How long ago a time of the API was. */
export function ago(time) {
  const since = (Date.now() - Date.parse(time)) / 1000;
  return Number.isFinite(since) ? `${seconds(Math.max(since, 0))} ago` : "";
}

/** `<hash>-<bytes>.parquet` in few letters: a hash is told apart by its beginning. */
export const short = (name) => `${name.slice(0, 10)}\u2026`;

/** The last part of a key, and what is before it. */
export function split(key) {
  const at = key.lastIndexOf("/") + 1;
  return [key.slice(0, at), key.slice(at)];
}
