-- The pause of load.ts, for wrk.
function delay()
  return 4
end
