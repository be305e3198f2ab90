"""Pure maths that merges: state per event, added in any order, read at any point. NumPy only.

The maths of the aggregates of features. Each begins with events as columns (init), takes in more (update), joins what
others have (merge) and is read for many ranges at once, or for one (finalize):

====================  =======================  =======================  ============================================
aggregate             init                     update, merge            finalize
====================  =======================  =======================  ============================================
count                 one each                 running counts           `windows.count`
sum, mean, std        `exact`, `squares`       `running`, `joined`      `rounded`, `means`, `deviations` (`…_one`)
min, max, percentile  the values               in order of time         `ranges.smallest`, `kth`, `percentile.place`
approximate distinct  `distinct.of_integers`   in order of time         `distinct.counts` (`count_one`)
first, last           times and values         in order of time         `windows.first`, `latest.last`
since, tenure         times                    in order of time         `latest.since`, `latest.tenure`
decayed               the values, ones         `running`, `faded`       `latest.decayed` (`decay.read_one`)
====================  =======================  =======================  ============================================

`windows` and `latest` ask them of a `tracks.Track`; what is kept of one, and how it is cut, packed and found, is the
business of the room ``features``, where `raypipe.features.single` says some of it again in plain numbers, for one row.
"""
