-- Tables, closures and interned strings, with a collector that frees in bursts.
local total, kept = 0, {}
for turn = 1, tonumber(arg[1]) do
  local objects = {}
  for i = 1, 5000 do
    local o = { name = "object-" .. i * turn, next = objects[i - 1], at = { i, turn } }
    o.get = function() return o.at[1] end
    objects[i] = o
  end
  local parts = {}
  for i, o in ipairs(objects) do
    parts[#parts + 1] = o.name .. ":" .. o.get()
  end
  total = total + #table.concat(parts, ",")
  if turn % 4 == 0 then
    table.insert(kept, objects)
    if #kept > 6 then table.remove(kept, 1) end
  end
end
print(total)
