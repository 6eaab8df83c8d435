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

local RECLAIM, DUE = 64, 256 -- leases and retries looked at in one call

local function count(j, changes)
  for field, by in pairs(changes) do
    if by ~= 0 then redis.call('HINCRBY', j .. 'st', field, by) end
  end
end

local function more(changes, field, by)
  changes[field] = (changes[field] or 0) + by
end

local function push(p, job, host, level, element, now, front)
  local j = p .. job .. ':'
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
  local pending = 0
  if most >= 0 then
    local known = redis.call('HMGET', j .. 'st', 'queued', 'resting')
    pending = tonumber(known[1] or 0) + tonumber(known[2] or 0)
  end
  for i = first + 2, last, 6 do
    local host, bucket, member, level = args[i], args[i + 1], args[i + 2], args[i + 3]
    local reason, element = args[i + 4], args[i + 5]
    local seen, skip, parked = j .. 'seen:' .. bucket, j .. 'skip:' .. bucket,
      j .. 'parked:' .. bucket
    if reason == '' and redis.call('SISMEMBER', seen, member) == 0 then
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

-- lease(job, n, lease ms, nonce, level, quota, robots, crashes, terms, dice): what may go now.
-- level -1: the least open one; quota -1: no limit of pages.
redis.register_function { function_name = 'crawler1_lease', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local j = p .. job .. ':'
  local wanted, lease, nonce = tonumber(args[2]), tonumber(args[3]), args[4]
  local level, quota, robots = tonumber(args[5]), tonumber(args[6]), args[7] == '1'
  local crashes, terms, dice = tonumber(args[8]), cmsgpack.unpack(args[9]), tonumber(args[10])
  if redis.call('HEXISTS', j .. 'st', 'born') == 0 then
    return redis.error_reply('NOJOB the crawl is not in this database')
  end
  reclaim(p, job, now)
  wake_resting(p, job, now)
  if redis.call('HGET', j .. 'st', 'paused') == '1' then return { {}, stats(j) } end
  if level < 0 then level = least_open(j) end
  local ready = j .. 'rq:' .. level
  wanted = math.min(wanted, room(j, quota))
  local taken = {}
  local hosts = level < 0 and {}
    or redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, math.max(wanted, 0))
  local each = math.max(1, math.ceil(wanted / math.max(1, #hosts)))
  for _, name in ipairs(hosts) do
    local h, list = host_of(p, name), j .. 'q:' .. level .. ':' .. name
    local here, gone = 0, false
    while not gone and here < each and #taken < wanted do
      local element = redis.call('LINDEX', list, 0)
      if not element then
        redis.call('ZREM', ready, name)
        gone = true
      elseif h.ask or h.act >= width_of(h, terms) then
        await(p, h, job, level)
        gone = true
      elseif h.due > now then
        redis.call('ZADD', ready, text(h.due), name)
        gone = true
      else
        local home = (element:byte(10) % 2 == 1 and 'https://' or 'http://') .. name
        local closed = robots
          and tonumber(redis.call('HGET', j .. 'robots:' .. home, 'until') or 0) <= now
        if closed and h.act > 0 then
          await(p, h, job, level) -- the others come home first: robots.txt goes alone
          gone = true
        else
          here = here + 1
          local token = nonce .. ':' .. #taken
          local flight = { token = token, host = name, level = level, terms = terms,
            crashes = crashes, trip = depart(h, terms, now, (dice + 0.618 * #taken) % 1) }
          local id
          if closed then
            flight.kind, id = 'robots', 'r' .. home
            h.ask = token
            count(j, { asking = 1, ops = 1 })
            taken[#taken + 1] = { id, token, name, '', home }
          else
            redis.call('LPOP', list)
            flight.kind, flight.element, id = 'link', element, element:sub(1, 8)
            redis.call('HINCRBY', j .. 'st', 'queued', -1)
            redis.call('HINCRBY', j .. 'st', 'leased', 1)
            taken[#taken + 1] = { id, token, name, element, '' .. level }
          end
          put(j, id, flight)
          redis.call('ZADD', j .. 'lease', now + lease, id)
        end
      end
    end
    if here > 0 then
      save(h)
      if h.ask or h.act >= width_of(h, terms) then
        await(p, h, job, level)
      elseif not gone then
        redis.call('ZADD', ready, text(math.max(h.due, now)), name)
      end
    end
  end
  -- When it is worth asking again without having heard anything: milliseconds.
  local wait = -1
  for _, zset in ipairs({ ready, j .. 'rest', j .. 'lease' }) do
    local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
    if first[2] then
      local ms = math.max(0, math.ceil(tonumber(first[2]) - now))
      if wait < 0 or ms < wait then wait = ms end
    end
  end
  return { taken, stats(j, wait) }
end }

-- turn(job, host, id, nonce, lease ms, terms, dice): -1, or milliseconds until it is worth asking.
redis.register_function { function_name = 'crawler1_turn', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local terms = cmsgpack.unpack(args[6])
  local h = host_of(p, args[2])
  if h.due > now then return math.ceil(h.due - now) end
  if h.act >= width_of(h, terms) then return 1000 end
  local j = p .. job .. ':'
  put(j, args[3], { token = args[4], kind = 'turn', host = args[2], terms = terms,
    trip = depart(h, terms, now, tonumber(args[7])) })
  redis.call('ZADD', j .. 'lease', now + tonumber(args[5]), args[3])
  save(h)
  return -1
end }

-- back(job, items…): id, token, asked, rest ms, lesson (or nothing): connections that are free.
redis.register_function { function_name = 'crawler1_back', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local j, shown = p .. job .. ':', {}
  for i = 2, #args, 5 do
    local id = args[i]
    local flight = flight_of(j, id, args[i + 1])
    if flight and not flight.released then
      local h = host_of(p, flight.host)
      local lesson = args[i + 4] ~= '' and cmsgpack.unpack(args[i + 4]) or nil
      if args[i + 2] == '1' then
        back(h, flight.terms, flight.trip, now, lesson)
      else
        refund(h, flight.trip)
      end
      h.due = math.max(h.due, now + tonumber(args[i + 3]))
      local tired = flight.terms.park_after > 0 and h.parks > flight.terms.max_parks
      redis.call(tired and 'SADD' or 'SREM', j .. 'tired', flight.host)
      save(h)
      wake(p, h)
      if flight.kind == 'turn' then
        take_off(j, id)
      else
        flight.released = true
        put(j, id, flight)
      end
      shown[#shown + 1] = { flight.host, width_of(h, flight.terms), limit_of(h, flight.terms),
        h.act, tonumber(redis.call('HGET', j .. 'n', flight.host) or 0),
        text(delay_of(h, flight.terms)), math.max(0, math.ceil(h.due - now)),
        math.max(0, math.ceil(h.parked - now)), h.fails, h.parks,
        text(h.cd and h.cd > flight.terms.max_cd and h.cd or 0) }
    end
  end
  return shown
end, flags = { 'allow-oom' } }

-- forgo(job, items…): id, token: leases given back unvisited.
redis.register_function { function_name = 'crawler1_forgo', callback = function(keys, args)
  local now = clock()
  for i = #args - 1, 2, -2 do -- the last taken goes back first: the order is as it was
    local flight = flight_of(keys[1] .. args[1] .. ':', args[i], args[i + 1])
    if flight then requeue(keys[1], args[1], args[i], flight, now, 0) end
  end
end, flags = { 'allow-oom' } }

-- extend(job, lease ms, items…): id, token: which are still theirs, as 1 and 0.
redis.register_function { function_name = 'crawler1_extend', callback = function(keys, args)
  local j, until_ = keys[1] .. args[1] .. ':', clock() + tonumber(args[2])
  local kept = {}
  for i = 3, #args, 2 do
    local mine = flight_of(j, args[i], args[i + 1]) ~= nil
    if mine then redis.call('ZADD', j .. 'lease', until_, args[i]) end
    kept[#kept + 1] = mine and 1 or 0
  end
  return kept
end, flags = { 'allow-oom' } }

-- settle(job, worker's marks, number of visits, visits…, children…): visits crossed off, their links on this shard
-- queued, the outputs' lengths kept. One step. What is no longer the worker's is refused, with
-- its children, and counted.
redis.register_function { function_name = 'crawler1_settle', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local j = p .. job .. ':'
  local marks, changes, accepted = cmsgpack.unpack(args[2]), {}, {}
  local at = 4 -- of what is read next
  for number = 1, tonumber(args[3]) do
    local id, token, outcome, due_in, rest, is_page, reason, again, robots, rules =
      unpack(args, at, at + 9)
    due_in, rest, at = tonumber(due_in), tonumber(rest), at + 10
    local flight = flight_of(j, id, token)
    accepted[number] = flight and 1 or 0
    if not flight then
      more(changes, 'fenced', 1)
    else
      take_off(j, id)
      local h = land(p, flight, now, true)
      h.due = math.max(h.due, now + rest)
      if flight.kind == 'robots' then
        more(changes, 'asking', -1)
        if robots ~= '' then
          local home, valid, delay = unpack(cmsgpack.unpack(robots))
          redis.call('HSET', j .. 'robots:' .. home, 'until', text(now + valid), 'rules', rules)
          redis.call('PEXPIRE', j .. 'robots:' .. home, text(math.floor(math.min(valid, 1e12)) + 7 * DAY))
          if delay >= 0 then
            h.cd = math.max(h.cd or 0, delay)
            h.due = math.max(h.due, h.ended + delay_of(h, flight.terms))
          end
        else
          h.due = math.max(h.due, now + due_in)
        end
      else
        more(changes, 'leased', -1)
        more(changes, 'ops', 1)
        redis.call('HDEL', j .. 'crash', id)
        if outcome == 'retry' then
          local element = flight.element
          element = element:sub(1, 8) .. string.char(math.min(255, element:byte(9) + 1))
            .. element:sub(10)
          if again ~= '' then element = again end -- with what the next try needs
          local due = now + due_in
          if h.parked > now then due = math.max(due, h.parked + 1000) end
          redis.call('ZADD', j .. 'rest', due, cmsgpack.pack({ flight.host, flight.level,
            element }))
          more(changes, 'resting', 1)
        else
          redis.call('HINCRBY', j .. 'n', flight.host, -1)
          closed(j, flight.level)
          more(changes, outcome, 1)
          if is_page == '1' and (outcome == 'done' or outcome == 'unchanged') then more(changes, 'pages', 1) end
          if reason ~= '' then redis.call('HINCRBY', j .. 'why', reason, 1) end
          if outcome == 'failed' then
            redis.call('RPUSH', j .. 'dead', cmsgpack.pack({ flight.host, flight.level,
              flight.element, reason }))
          end
        end
      end
      save(h)
      wake(p, h)
    end
  end
  -- Children last: their parents' levels are known, and nobody sees the step half done.
  local fresh = {}
  while at <= #args do
    local parent, last = tonumber(args[at]), at + 1 + tonumber(args[at + 1])
    fresh[#fresh + 1] = accepted[parent] == 1 and add_items(p, job, args, at + 2, last, now) or {}
    at = last + 1
  end
  count(j, changes)
  for name, length in pairs(marks) do redis.call('HSET', j .. 'mark', name, length) end
  return { accepted, fresh, stats(j) }
end, flags = { 'allow-oom' } }

redis.register_function { function_name = 'crawler1_stats', callback = function(keys, args)
  local j = keys[1] .. args[1] .. ':'
  local values = stats(j)
  values[#values + 1] = redis.call('HLEN', j .. 'n')
  return values
end, flags = { 'no-writes' } }

redis.register_function { function_name = 'crawler1_robots', callback = function(keys, args)
  return redis.call('HGET', keys[1] .. args[1] .. ':robots:' .. args[2], 'rules')
end, flags = { 'no-writes' } }

-- twins(job, items…): digest, URL: the URL that had these bytes first, this one if none had.
redis.register_function { function_name = 'crawler1_twins', callback = function(keys, args)
  local j, first = keys[1] .. args[1] .. ':', {}
  for i = 2, #args, 2 do
    local bucket = j .. 'twin:' .. (args[i]:byte(1) * 64 + args[i]:byte(2) % 64)
    redis.call('HSETNX', bucket, args[i], args[i + 1])
    first[#first + 1] = redis.call('HGET', bucket, args[i])
  end
  return first
end }

redis.register_function { function_name = 'crawler1_pause', callback = function(keys, args)
  redis.call('HSET', keys[1] .. args[1] .. ':st', 'paused', args[2])
end }

-- block(host, ms): nobody asks the host anything before.
redis.register_function { function_name = 'crawler1_block', callback = function(keys, args)
  local h = host_of(keys[1], args[1])
  h.due = math.max(h.due, clock() + tonumber(args[2]))
  save(h)
end }

-- retry(job, glob of reasons): the dead letters that match are queued again; how many.
redis.register_function { function_name = 'crawler1_retry', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local j, letters, queued = p .. job .. ':', nil, 0
  letters = redis.call('LRANGE', j .. 'dead', 0, -1)
  redis.call('DEL', j .. 'dead')
  for _, letter in ipairs(letters) do
    local host, level, element, reason = unpack(cmsgpack.unpack(letter))
    if string.find(reason, args[2]) then
      push(p, job, host, level, element:sub(1, 8) .. '\0' .. element:sub(10), now)
      redis.call('HINCRBY', j .. 'n', host, 1)
      redis.call('HINCRBY', j .. 'o', level, 1)
      queued = queued + 1
    else
      redis.call('RPUSH', j .. 'dead', letter)
    end
  end
  count(j, { failed = -queued, queued = queued, ops = queued })
  return queued
end }

-- forget(job): before its keys are removed, its connections are given back.
redis.register_function { function_name = 'crawler1_forget', callback = function(keys, args)
  local p, j, now = keys[1], keys[1] .. args[1] .. ':', clock()
  redis.call('HDEL', j .. 'st', 'born')
  for _, id in ipairs(redis.call('ZRANGE', j .. 'lease', 0, -1)) do
    local flight = flight_of(j, id)
    take_off(j, id)
    if flight then
      local h = land(p, flight, now, true)
      save(h)
      wake(p, h)
    end
  end
end, flags = { 'allow-oom' } }

-- known(job, items…): host, bucket, member, outcome, is a page: links finished elsewhere.
redis.register_function { function_name = 'crawler1_known', callback = function(keys, args)
  local j, changes = keys[1] .. args[1] .. ':', {}
  for i = 2, #args, 5 do
    if redis.call('SADD', j .. 'seen:' .. args[i + 1], args[i + 2]) == 1 then
      redis.call('HSETNX', j .. 'n', args[i], 0)
      more(changes, args[i + 3], 1)
      if args[i + 4] == '1' then more(changes, 'pages', 1) end
    end
  end
  count(j, changes)
end }

redis.register_function { function_name = 'crawler1_clock', callback = function()
  return text(clock())
end, flags = { 'no-writes' } }

-- opened(packed…): host, level, element, reason of what lies packed in fly, rest and braked; what
-- is no link (a robots.txt or a turn on lease) is left out.
redis.register_function { function_name = 'crawler1_opened', callback = function(_, args)
  local rows = {}
  for _, packed in ipairs(args) do
    local one = cmsgpack.unpack(packed)
    if one.element then
      rows[#rows + 1] = { one.host, '' .. one.level, one.element, '' }
    elseif not one.kind then
      rows[#rows + 1] = { one[1], '' .. one[2], one[3], one[4] or '' }
    end
  end
  return rows
end, flags = { 'no-writes' } }

-- later(job, items…): host, bucket, member, level, due in ms, element: links that rest, as they did
-- where they come from.
redis.register_function { function_name = 'crawler1_later', callback = function(keys, args)
  local j, now, number = keys[1] .. args[1] .. ':', clock(), 0
  for i = 2, #args, 6 do
    local host, level = args[i], tonumber(args[i + 3])
    if redis.call('SADD', j .. 'seen:' .. args[i + 1], args[i + 2]) == 1 then
      redis.call('HINCRBY', j .. 'n', host, 1)
      redis.call('HINCRBY', j .. 'o', level, 1)
      redis.call('ZADD', j .. 'rest', text(now + tonumber(args[i + 4])),
        cmsgpack.pack({ host, level, args[i + 5] }))
      number = number + 1
    end
  end
  count(j, { resting = number, ops = number })
end }
