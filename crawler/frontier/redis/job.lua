-- A job as a whole: its numbers, what is known, what people do to it, moving it here and home.

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
