select origin, count(*) as flights, avg(dep_delay) as dep_delay
from {{ ref('flights') }}
group by origin
