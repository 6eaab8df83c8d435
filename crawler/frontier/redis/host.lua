-- A host: how fast it may be asked, by all workers of all jobs together. The rules are those of
-- budget.py and pace.py (a test runs both over the same exchanges); the clock is this server's.
-- Times are milliseconds since 1970.

local DAY = 86400000 -- a host that nobody asked for so long is forgotten
local START, NEAR, FAR, SLACK = 2, 1.5, 2, 20
local SMOOTHING, DRIFT, ALONE, EAGER = 0.05, 1.00002, 1.02, 0.5
local WARY, CREEP = 0.8, 0.1

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local FIELDS = { 'due', 'act', 'ended', 'w', 'base', 'smooth', 'eager', 'cut', 'wall', 'fails',
  'parks', 'parked', 'cd', 'owed', 'unsent' }

local function host_of(p, name)
  local values = redis.call('HMGET', p .. 'h:' .. name, 'ask', unpack(FIELDS))
  local h = { key = p .. 'h:' .. name, name = name, ask = values[1] }
  for i, field in ipairs(FIELDS) do h[field] = tonumber(values[i + 1]) end
  h.due, h.act, h.ended = h.due or 0, h.act or 0, h.ended or 0
  h.fails, h.parks, h.parked = h.fails or 0, h.parks or 0, h.parked or 0
  h.unsent = h.unsent or 0
  return h
end

local function text(number) -- tostring() keeps 14 digits only
  return string.format('%.17g', number)
end

local function save(h)
  local values = {}
  for _, field in ipairs(FIELDS) do
    if h[field] then
      values[#values + 1] = field
      values[#values + 1] = text(h[field])
    end
  end
  redis.call('HSET', h.key, unpack(values))
  if h.ask then redis.call('HSET', h.key, 'ask', h.ask) else redis.call('HDEL', h.key, 'ask') end
  redis.call('PEXPIRE', h.key, DAY)
end

-- ── what a job asks for, and what the host asks for ─────────────────────────────────────────────

local function is_down(h, terms)
  return terms.park_after > 0 and h.fails >= terms.park_after
end

local function delay_of(h, terms)
  if terms.fast or not h.cd then return terms.delay end
  return math.max(terms.delay, math.min(h.cd, terms.max_cd))
end

local function limit_of(h, terms)
  return delay_of(h, terms) > terms.delay and 1 or terms.width
end

local function width_of(h, terms)
  if is_down(h, terms) then return 1 end
  local limit = limit_of(h, terms)
  if not terms.adaptive then return limit end
  return math.min(limit, math.floor(h.w or math.min(START, terms.width)))
end

-- Nobody more may be on the way: its width is used, or the pause after one has not begun yet.
local function is_full(h, terms)
  return h.unsent > 0 or h.act >= width_of(h, terms)
end

-- ── a trip ──────────────────────────────────────────────────────────────────────────────────────

local function pause_of(h, terms, dice)
  local delay = delay_of(h, terms)
  if terms.jitter == 0 then return delay end
  local own = terms.delay * (1 + terms.jitter * (2 * dice - 1))
  if delay == terms.delay then return own end
  return math.max(own, delay * (1 + terms.jitter * dice)) -- a site's wish: only upwards
end

local function depart(h, terms, now, dice)
  local trip = { began = now, pause = pause_of(h, terms, dice), before = h.due }
  trip.waits = trip.pause > 0 and width_of(h, terms) > 1 -- visited alone, it has it from the end on
  h.act = h.act + 1
  if trip.waits then h.unsent = h.unsent + 1 end
  h.due = math.max(h.due, now + trip.pause)
  trip.after = h.due
  trip.full = h.act >= width_of(h, terms)
  return trip
end

-- It is written, or will never be.
local function waits_no_more(h, trip)
  if trip.waits then h.unsent = math.max(0, h.unsent - 1) end
  trip.waits = false
end

-- Its request was written, so long ago: the pause began then.
local function sent(h, trip, now, ago)
  waits_no_more(h, trip)
  h.due = math.max(h.due, now - math.min(ago, trip.pause) + trip.pause)
end

local function narrower(h, share, now, began)
  if h.cut and began < h.cut then return end
  h.w = math.max(1, h.w * share)
  h.eager, h.cut = 0, now
end

local function learn_pace(h, terms, lesson, now, trip)
  h.w = h.w or math.min(START, terms.width)
  if lesson.strained then
    if not (h.cut and trip.began < h.cut) then h.wall = h.w end
    return narrower(h, 0.5, now, trip.began)
  end
  local took = lesson.ms
  if not took then return end
  local smooth = took
  if h.base then smooth = h.smooth + SMOOTHING * (took - h.smooth) end
  local drift = h.w < 2 and ALONE or DRIFT
  h.base = h.base and math.min(h.base * drift, smooth) or smooth
  h.smooth = smooth
  if smooth > FAR * h.base + SLACK then return narrower(h, 0.9, now, trip.began) end
  if smooth > NEAR * h.base + SLACK then
    h.eager = 0
    return
  end
  if not trip.full or h.w >= terms.width then return end
  local more = h.eager ~= 0 and EAGER or 1 / h.w
  local wall = h.wall or math.huge
  if WARY * wall < h.w and h.w <= wall / WARY then more = more * CREEP end
  h.w = math.min(terms.width, h.w + more)
end

-- The connection is back. lesson: {ms, strained, failed, bytes}, nil when nothing was learnt.
local function back(h, terms, trip, now, lesson)
  waits_no_more(h, trip)
  h.act = math.max(0, h.act - 1)
  h.ended = now
  if width_of(h, terms) == 1 then h.due = math.max(h.due, now + trip.pause) end
  if terms.rate and lesson then
    h.owed = math.max(h.owed or 0, trip.began) + lesson.bytes * 1000 / terms.rate
    h.due = math.max(h.due, h.owed)
  end
  if not lesson then return end
  if terms.adaptive then learn_pace(h, terms, lesson, now, trip) end
  if lesson.failed == 0 then
    h.fails, h.parks, h.parked = 0, 0, 0
  elseif lesson.failed == 1 and trip.began >= h.parked then
    h.fails = h.fails + 1
    if is_down(h, terms) then
      local time = math.min(terms.park_most, terms.park * 2 ^ math.min(h.parks, 32))
      h.parks = h.parks + 1
      h.parked = now + time
      h.due = math.max(h.due, h.parked)
    end
  end
end

local function refund(h, trip)
  waits_no_more(h, trip)
  h.act = math.max(0, h.act - 1)
  if h.due == trip.after then h.due = trip.before end
end

-- ── jobs that wait for a host ───────────────────────────────────────────────────────────────────

-- A host stands in the ready list of each job that has links for it, or, while it cannot be asked
-- for another reason than time, among the host's waiters; what changes the reason wakes them.
local function await(p, h, job, level)
  redis.call('ZREM', p .. job .. ':rq:' .. level, h.name)
  redis.call('SADD', p .. 'w:' .. h.name, job .. ':rq:' .. level)
end

local function wake(p, h)
  local waiters = redis.call('SMEMBERS', p .. 'w:' .. h.name)
  if #waiters == 0 then return end
  for _, list in ipairs(waiters) do redis.call('ZADD', p .. list, text(h.due), h.name) end
  redis.call('DEL', p .. 'w:' .. h.name)
end
