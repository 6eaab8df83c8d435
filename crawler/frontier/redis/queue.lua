-- A job's links in one shard. An element is 8 bytes of the URL's fingerprint, a byte of attempts,
-- a byte of flags (1: https, 2: a page), and what only workers read.
--
--   seen:N           SETs of int64: the links that were admitted; in skip:N those that were refused
--                    where they were found, in parked:N those that looked like a trap
--   q:LEVEL:HOST     LIST of elements        rq:LEVEL  ZSET host → when it may be asked
--   lease            ZSET id → expiry        fly       HASH id → what is on lease
--   rest             ZSET of elements → due  n         HASH host → links queued and resting
--   st               HASH of counters        o         HASH level → unfinished links
--   dead             LIST of failed links    braked    LIST of those parked as a trap's
--   mark             HASH output → length    tired     SET of hosts the end does not wait for
--   w:LEVEL:N        SETs of fingerprints: the links that wait at a level below the first
--   up:LEVEL         SET of fingerprints: links that wait at a lesser level now; what still stands
--                    in the list of this one is passed over

local RECLAIM, DUE = 64, 256 -- leases and retries looked at in one call

local function count(j, changes)
  for field, by in pairs(changes) do
    if by ~= 0 then redis.call('HINCRBY', j .. 'st', field, by) end
  end
end

local function more(changes, field, by)
  changes[field] = (changes[field] or 0) + by
end

local function waiting(j, level, name)
  return j .. 'w:' .. level .. ':' .. (name:byte(1) * 64 + name:byte(2) % 64)
end

local function push(p, job, host, level, element, now, front)
  local j = p .. job .. ':'
  if tonumber(level) > 0 then
    local name = element:sub(1, 8)
    redis.call('SADD', waiting(j, level, name), name)
  end
  local list = j .. 'q:' .. level .. ':' .. host
  local length = redis.call(front and 'LPUSH' or 'RPUSH', list, element)
  if length == 1 then
    local due = tonumber(redis.call('HGET', p .. 'h:' .. host, 'due') or 0)
    redis.call('ZADD', j .. 'rq:' .. level, 'NX', text(math.max(now, due)), host)
  end
end

local function take_off(j, id)
  redis.call('ZREM', j .. 'lease', id)
  redis.call('HDEL', j .. 'fly', id)
end

local function put(j, id, flight)
  redis.call('HSET', j .. 'fly', id, cmsgpack.pack(flight))
end

local function flight_of(j, id, token)
  local packed = redis.call('HGET', j .. 'fly', id)
  if not packed then return nil end
  local flight = cmsgpack.unpack(packed)
  if token and flight.token ~= token then return nil end
  return flight
end

local function closed(j, level) -- a link of that level is finished
  if redis.call('HINCRBY', j .. 'o', level, -1) <= 0 then redis.call('HDEL', j .. 'o', level) end
end

-- What ends a stay in the air: the host's connection, if it is not back yet.
local function land(p, flight, now, asked)
  local h = host_of(p, flight.host)
  if not flight.released then
    if flight.trip.waits and asked then sent(h, flight.trip, now, 0) end -- nobody knows
    if asked then back(h, flight.terms, flight.trip, now) else refund(h, flight.trip) end
  end
  if flight.kind == 'robots' then
    if h.ask == flight.token then h.ask = nil end
  end
  return h
end

local function requeue(p, job, id, flight, now, attempts)
  local j = p .. job .. ':'
  take_off(j, id)
  local h = land(p, flight, now, attempts > 0)
  save(h)
  wake(p, h)
  if flight.kind == 'robots' then
    count(j, { asking = -1 })
  elseif flight.kind == 'link' then
    local element = flight.element
    if attempts > 0 then
      local crashes = redis.call('HINCRBY', j .. 'crash', id, 1)
      if flight.crashes > 0 and crashes >= flight.crashes then
        redis.call('HDEL', j .. 'crash', id)
        redis.call('HINCRBY', j .. 'n', flight.host, -1)
        closed(j, flight.level)
        redis.call('RPUSH', j .. 'dead', cmsgpack.pack({ flight.host, flight.level, element,
          'lease' }))
        count(j, { leased = -1, failed = 1, ops = 1 })
        return
      end
    elseif flight.first_of and redis.call('EXISTS', j .. 'robots:' .. flight.first_of) == 1 then
      redis.call('HSET', j .. 'robots:' .. flight.first_of, 'unused', '1')
    end
    push(p, job, flight.host, flight.level, element, now, true)
    count(j, { leased = -1, queued = 1, ops = 1 })
  end
end

local function reclaim(p, job, now)
  local j = p .. job .. ':'
  local late = redis.call('ZRANGEBYSCORE', j .. 'lease', '-inf', now, 'LIMIT', 0, RECLAIM)
  for _, id in ipairs(late) do
    local flight = flight_of(j, id)
    if flight then
      count(j, { expired = 1 })
      requeue(p, job, id, flight, now, 1)
    else
      redis.call('ZREM', j .. 'lease', id)
    end
  end
end

local function wake_resting(p, job, now)
  local j = p .. job .. ':'
  local due = redis.call('ZRANGEBYSCORE', j .. 'rest', '-inf', now, 'LIMIT', 0, DUE)
  for i = #due, 1, -1 do -- to the front, so that the first to come is the first to go
    local host, level, element = unpack(cmsgpack.unpack(due[i]))
    redis.call('ZREM', j .. 'rest', due[i])
    push(p, job, host, level, element, now, true)
  end
  count(j, { resting = -#due, queued = #due })
end

local function least_open(j)
  local least
  local open = redis.call('HGETALL', j .. 'o')
  for i = 1, #open, 2 do
    local level = tonumber(open[i])
    if tonumber(open[i + 1]) > 0 and (not least or level < least) then least = level end
  end
  return least or -1
end

local STATS = { 'queued', 'resting', 'leased', 'asking', 'ops', 'pages', 'done', 'moved',
  'unchanged', 'refused', 'failed', 'braked', 'expired', 'fenced' }

local function stats(j, wait)
  local values = redis.call('HMGET', j .. 'st', unpack(STATS))
  for i, value in ipairs(values) do values[i] = tonumber(value or 0) end
  local stranded = 0
  for _, host in ipairs(redis.call('SMEMBERS', j .. 'tired')) do
    stranded = stranded + tonumber(redis.call('HGET', j .. 'n', host) or 0)
  end
  values[#values + 1] = stranded
  values[#values + 1] = least_open(j)
  values[#values + 1] = wait or -1
  return values
end

-- With depth as the order, what still waits is as deep as its shortest way that is known: a redirect,
-- whose target is as deep as itself, is often visited after a page that links there. `open`: the
-- unfinished levels.
local function promote(p, job, host, level, element, open, now)
  local j, name = p .. job .. ':', element:sub(1, 8)
  for i = 1, #open do
    local deeper = tonumber(open[i])
    if deeper > tonumber(level) and redis.call('SREM', waiting(j, deeper, name), name) == 1 then
      redis.call('SADD', j .. 'up:' .. deeper, name)
      closed(j, deeper)
      push(p, job, host, level, element, now)
      redis.call('HINCRBY', j .. 'o', level, 1)
      count(j, { ops = 1 })
      return
    end
  end
end

local function room(j, quota)
  if quota < 0 then return math.huge end
  local taken = redis.call('HMGET', j .. 'st', 'pages', 'leased')
  return quota - tonumber(taken[1] or 0) - tonumber(taken[2] or 0)
end

-- ── the verbs; keys: the shard's prefix; the first argument is the job ──────────────────────────

-- add(job, now-independent caps, items…): host, bucket, member, level, reason, element
local function add_items(p, job, args, first, last, now)
  local j = p .. job .. ':'
  local most, most_host = tonumber(args[first]), tonumber(args[first + 1])
  local changes, fresh = {}, {}
  local pending, open = 0, redis.call('HKEYS', j .. 'o')
  if most >= 0 then
    local known = redis.call('HMGET', j .. 'st', 'queued', 'resting')
    pending = tonumber(known[1] or 0) + tonumber(known[2] or 0)
  end
  for i = first + 2, last, 6 do
    local host, bucket, member, level = args[i], args[i + 1], args[i + 2], args[i + 3]
    local reason, element = args[i + 4], args[i + 5]
    local seen, skip, parked = j .. 'seen:' .. bucket, j .. 'skip:' .. bucket,
      j .. 'parked:' .. bucket
    if reason == '' and redis.call('SISMEMBER', seen, member) == 1 then
      promote(p, job, host, level, element, open, now)
    elseif reason == '' then
      local full
      if most >= 0 and pending >= most then full = 'crawlFull' end
      if most_host >= 0 and not full
        and tonumber(redis.call('HGET', j .. 'n', host) or 0) >= most_host then
        full = 'hostFull'
      end
      if full then
        reason = full
      else
        redis.call('SADD', seen, member)
        if redis.call('SREM', skip, member) == 1 then more(changes, 'refused', -1) end
        if redis.call('SREM', parked, member) == 1 then more(changes, 'braked', -1) end
        push(p, job, host, level, element, now)
        redis.call('HINCRBY', j .. 'n', host, 1)
        redis.call('HINCRBY', j .. 'o', level, 1)
        more(changes, 'queued', 1)
        more(changes, 'ops', 1)
        pending = pending + 1
        fresh[#fresh + 1] = (i - first - 2) / 6
      end
    end
    if reason ~= '' and redis.call('SISMEMBER', seen, member) == 0 then
      local trap = reason:sub(1, 5) == 'trap:' or reason == 'tooLong'
      if redis.call('SISMEMBER', trap and skip or parked, member) == 0
        and redis.call('SADD', trap and parked or skip, member) == 1 then
        redis.call('HINCRBY', j .. 'why', reason, 1)
        more(changes, trap and 'braked' or 'refused', 1)
        if trap then
          redis.call('RPUSH', j .. 'braked', cmsgpack.pack({ host, level, element, reason }))
        end
      end
    end
  end
  count(j, changes)
  return fresh
end

redis.register_function { function_name = 'crawler1_add', callback = function(keys, args)
  return add_items(keys[1], args[1], args, 2, #args, clock())
end }
