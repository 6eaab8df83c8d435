-- What may go now, and what is out: leases, connections, turns. Keys: the shard's prefix; the first
-- argument is the job.

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
      elseif level > 0 and redis.call('SREM', j .. 'up:' .. level, element:sub(1, 8)) == 1 then
        redis.call('LPOP', list)
      elseif h.ask or is_full(h, terms) then
        await(p, h, job, level)
        gone = true
      elseif h.due > now then
        redis.call('ZADD', ready, text(h.due), name)
        gone = true
      else
        local home = (element:byte(10) % 2 == 1 and 'https://' or 'http://') .. name
        -- What was fetched just now holds for one link at least: with a pace slower than its age it
        -- would else be fetched for ever, and never a link.
        local known = robots and redis.call('HMGET', j .. 'robots:' .. home, 'until', 'unused')
        local unused = robots and known[2] == '1'
        local closed = robots and not unused and tonumber(known[1] or 0) <= now
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
            local waited = element:sub(1, 8)
            if level > 0 then redis.call('SREM', waiting(j, level, waited), waited) end
            if unused then
              redis.call('HDEL', j .. 'robots:' .. home, 'unused')
              flight.first_of = home
            end
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
      if h.ask or is_full(h, terms) then
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

-- turn(job, host, id, nonce, lease ms, terms, dice): -1, or milliseconds until it is worth asking. Asked
-- again by one who did not hear that it is his, it still is.
redis.register_function { function_name = 'crawler1_turn', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  local terms = cmsgpack.unpack(args[6])
  local j = p .. job .. ':'
  reclaim(p, job, now) -- where all wait for turns, nobody leases
  if flight_of(j, args[3], args[4]) then return -1 end
  local h = host_of(p, args[2])
  if h.due > now then return math.ceil(h.due - now) end
  if is_full(h, terms) then return 1000 end
  put(j, args[3], { token = args[4], kind = 'turn', host = args[2], terms = terms,
    trip = depart(h, terms, now, tonumber(args[7])) })
  redis.call('ZADD', j .. 'lease', now + tonumber(args[5]), args[3])
  save(h)
  return -1
end }

-- sent(job, items…): id, token, ms since: requests that were written.
redis.register_function { function_name = 'crawler1_sent', callback = function(keys, args)
  local p, job, now = keys[1], args[1], clock()
  for i = 2, #args, 3 do
    local flight = flight_of(p .. job .. ':', args[i], args[i + 1])
    if flight and not flight.released then
      local h = host_of(p, flight.host)
      sent(h, flight.trip, now, tonumber(args[i + 2]))
      put(p .. job .. ':', args[i], flight)
      save(h)
      wake(p, h)
    end
  end
end, flags = { 'allow-oom' } }

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

-- disown(job, beginning of tokens, died): all leases whose tokens begin so come back now. died 1: as
-- if they had run out: a link that kills its workers is counted, and hosts are owed their pause from
-- now on. 0: nobody has learnt of them, and nothing was asked. The first taken is again the first.
-- How many.
redis.register_function { function_name = 'crawler1_disown', callback = function(keys, args)
  local now, died, own = clock(), tonumber(args[3]), {}
  local all = redis.call('HGETALL', keys[1] .. args[1] .. ':fly')
  for i = 1, #all, 2 do
    local flight = cmsgpack.unpack(all[i + 1])
    if flight.token:sub(1, #args[2]) == args[2] then
      local place = tonumber(flight.token:match(':(%d+)$') or 0)
      own[#own + 1] = { id = all[i], flight = flight, began = flight.trip.began, place = place }
    end
  end
  table.sort(own, function(a, b)
    if a.began ~= b.began then return a.began > b.began end
    return a.place > b.place
  end)
  for _, one in ipairs(own) do requeue(keys[1], args[1], one.id, one.flight, now, died) end
  return #own
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
