-- Visits are crossed off, and what they found is queued.

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
          redis.call('HSET', j .. 'robots:' .. home, 'until', text(now + valid), 'rules', rules,
            'unused', '1')
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
